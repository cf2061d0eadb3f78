//! Longshore: a Docker credential helper for Amazon ECR, and a pull-through cache that speaks the OCI distribution API.
//!
//! # The map
//! Layers only look down, and the modules of one layer do not know each other, but that `environment` asks `ecr` which names
//! are registries of ECR; `tests/it/layers.rs` keeps it so.
//!
//! | layer | modules | what |
//! | --- | --- | --- |
//! | 0 | [`oci`], [`secret`], [`chain`], [`config`] | words: pure, no I/O, not async, no clock |
//! | 1 | [`ecr`], [`store`], [`environment`], [`flight`] | adapters: AWS, the cache folder, the surroundings, one task for many |
//! | 2 | [`credentials`] | which credential for which registry |
//! | 3 | [`upstream`] | the one HTTP client |
//! | 4 | [`cache`] | pull-through |
//! | 5 | [`helper`], [`server`], [`setup`] | edges |
//! | 6 | [`cli`] | puts the others together |
//!
//! # What is absent, on purpose
//! - `oci`, `secret` and `config` do no I/O, are not async and read no clock: time is an argument.
//! - Only `ecr` imports `aws-*`. Only `store` touches the cache folder. Only `server` and [`cache::Error::answer`] name a
//!   status that is sent.
//! - Only [`store::VerifiedBlob::commit`] puts a blob where a reader finds it, and there is one only when the digest agreed. A hit is
//!   verified bytes.
//! - The helper never needs the daemon, the daemon never runs the helper; both use [`credentials`], hence the same tokens.
//! - The program `docker-credential-longshore` is the warm way alone: it does not name what mints, so neither AWS nor TLS nor
//!   a runtime is linked into it. What it cannot answer it hands over: the process becomes `longshore`, the fallback helper
//!   or the kubelet plug-in, and never starts one beside itself, except to write a long request or to merge a list.
//! - Every task has one owner: the cache owns downloads, the server connections, `cli::serve` the sweeper, the scrub, the
//!   renewal of tokens and the control socket. All stop by one cancellation token; a mint has a time limit instead.
//! - One crypto provider, ring. One file has `unsafe`, `server/sendfile.rs`: a mapping that nothing reads. No lock is held
//!   across an await.

pub mod cache;
pub mod chain;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod ecr;
pub mod environment;
pub mod flight;
pub mod helper;
pub mod oci;
pub mod secret;
pub mod server;
pub mod setup;
pub mod store;
pub mod upstream;
