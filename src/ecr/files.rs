//! The AWS configuration files for the SDK: the texts that were read here, and no others.
//!
//! So it does not stumble over a byte order mark or a comment in another encoding.
#![expect(deprecated, reason = "the new names are of aws-runtime, which nothing else here needs")]

use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};

use super::{Profiles, ini::Kind};

/// Both files, as the SDK takes them.
pub(super) type Files = ProfileFiles;

/// The files of `profiles`.
pub(super) fn files(profiles: &Profiles) -> Files {
    let files = profiles.texts().into_iter().fold(ProfileFiles::builder(), |files, text| {
        let kind = match text.kind {
            Kind::Config => ProfileFileKind::Config,
            Kind::Credentials => ProfileFileKind::Credentials,
        };
        files.with_contents(kind, text.text)
    });
    files.build()
}
