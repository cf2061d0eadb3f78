#![doc = "map to be written"]
pub mod cache;
pub mod config;
pub mod credentials;
pub mod ecr;
pub mod environment;
pub mod flight;
pub mod helper;
pub mod oci;
pub mod secret;
pub mod store;
pub mod upstream;
