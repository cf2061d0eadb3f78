//! The integration tests: the real programs, over real sockets, against a fake ECR that counts.
//!
//! One binary, a file for each subject. No test touches another's state: each has its own fake, daemon and folders.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "tests: what cannot go on fails, nobody calls them"
)]

mod aliases;
mod budget;
mod cli_cache;
mod cli_login;
mod cli_tokens;
mod cli_warm;
mod configuration;
mod daemon;
mod dependencies;
mod doctor;
mod endpoints;
mod failures;
mod fake_aws;
mod fake_ecr;
mod fakes;
mod faults;
mod former;
mod helper;
mod identities;
mod kubelet;
mod kubelet_setup;
mod layers;
mod names;
mod privacy;
mod promises;
mod prompts;
mod public;
mod pull;
mod readme;
mod renewal;
mod rig;
mod router;
mod shell;
mod token_store;
mod tokens;
mod ways_in;
