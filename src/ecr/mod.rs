//! Amazon ECR: which hosts are its registries, with whose rights tokens are minted, and how.
//!
//! The only module that imports `aws-*`. It keeps nothing: tokens are kept by `store`, asked for by `credentials`.

mod endpoint;
mod failure;
mod files;
mod identity;
mod ini;
mod keys;
mod metadata;
mod mint;
mod network;
mod order;
mod probe;
mod process;
mod profiles;
mod registry;
mod role;
mod sdk;
mod sources;
mod sso;
mod sso_sign_in;
mod survey;
mod token;
mod variable;

pub use failure::{MintError, MintErrorKind};
pub use identity::{Identity, Mfa, ROLE_ANNOTATION, Role};
pub use keys::{key_among, key_in_environment};
pub use metadata::is_ec2;
pub use mint::{Known, Learned, mint, mint_with_web_identity};
pub use probe::{Reached, probe};
pub use process::code;
pub use profiles::Profiles;
pub use registry::{EcrRegistry, Partition, TokenScope};
pub use role::Session;
pub use sso::{SignIn, SignInBy, source, words};
pub use sso_sign_in::Invitation;
pub use survey::{Source, Standing, survey};
pub use token::AuthorizationToken;
