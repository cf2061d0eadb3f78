#![doc = "map to be written"]
pub mod config;
pub mod oci;
pub mod secret;
