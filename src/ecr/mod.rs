//! Amazon ECR: which hosts are its registries, and how an authorization token is minted.
//!
//! The only module that imports `aws-*`. It keeps nothing: tokens are kept by `store`, asked for by `credentials`.

mod mint;
mod registry;
mod token;

pub use mint::{MintError, MintErrorKind, mint};
pub use registry::{EcrRegistry, Partition, TokenScope};
pub use token::AuthorizationToken;
