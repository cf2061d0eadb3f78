//! [`Control`]: what the owner of the cache folder asks of it, over the control socket or, without a daemon, in one's own
//! process.
//!
//! One question a connection, a line of JSON; the answer is lines of JSON, the last one says how it ended. Nobody but the
//! owner of the daemon and root is answered.

mod line;
mod words;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    net::{UnixListener, UnixStream},
    task::{JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use line::{AskError, ask};
pub use words::{Answer, ImageWords, RemovedWords, UsageWords, VerifiedWords, Work};

use super::{ACCEPT_PAUSE, resolve};
use crate::{
    config::Config,
    credentials::behind_daemon,
    oci::{ImageName, Repository},
    store::{BlobStore, ControlSocket},
};

/// The superuser may do everything anyway.
const ROOT: u32 = 0;

/// What questions are answered from.
#[derive(Clone, Debug)]
pub struct Control {
    /// The cache folder.
    pub store: BlobStore,
    /// The rules.
    pub config: Arc<Config>,
    /// Where pulls are served; `None` in a process that serves none.
    pub address: Option<SocketAddr>,
}

impl Control {
    /// Answers at `socket` until `stop` is cancelled; what is under way then is left unanswered.
    pub async fn serve(self, mut socket: ControlSocket, stop: CancellationToken) -> io::Result<()> {
        let listener = UnixListener::from_std(socket.listener()?)?;
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(answers.spawn(self.clone().answer(stream))),
                    Err(error) => {
                        warn!(%error, "a control connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // whether one died was logged where it did
                Some(_) = answers.join_next() => {}
            }
        }
    }

    async fn answer(self, stream: UnixStream) {
        let answered = async {
            let peer = stream.peer_cred()?.uid();
            if peer != ROOT && peer != rustix::process::geteuid().as_raw() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {peer} is not answered")));
            }
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            spawn_blocking(move || line::answer(&stream, &self)).await?
        };
        if let Err(error) = answered.await {
            debug!(%error, "a control connection ended early");
        }
    }

    /// Does the work, or says in words why not; `progress` is told how many bytes are done, and of how many.
    pub fn perform(&self, work: &Work, progress: &dyn Fn(u64, u64)) -> Result<Answer, String> {
        let failed = |error: io::Error| format!("cache folder: {error}");
        match work {
            Work::Address => Ok(Answer::Address(self.address)),
            Work::Images => {
                let mut images = self.store.images().map_err(failed)?;
                images.sort_by_key(|image| std::cmp::Reverse(image.read_at));
                Ok(Answer::Images(images.into_iter().map(Into::into).collect()))
            }
            Work::Usage => Ok(Answer::Usage(self.store.usage().map_err(failed)?.into())),
            Work::Remove { image } => self.remove(image),
            Work::Pin { image, on } => {
                let (repository, name) = self.named(image)?;
                let pinned = self.store.pin(&repository, &name.reference, *on).map_err(failed)?;
                Ok(Answer::Pinned(pinned.map(|digest| digest.to_string())))
            }
            Work::CollectGarbage => Ok(Answer::Removed(Some(self.store.collect_garbage().map_err(failed)?.into()))),
            Work::Verify => Ok(Answer::Verified(self.store.verify(progress).map_err(failed)?.into())),
        }
    }

    fn remove(&self, image: &str) -> Result<Answer, String> {
        let (repository, name) = self.named(image)?;
        match self.store.remove_image(&repository, &name.reference) {
            Ok(removed) => Ok(Answer::Removed(removed.map(Into::into))),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Err(format!("it is pinned; to let it go: longshore cache unpin {image}"))
            }
            Err(error) => Err(format!("cache folder: {error}")),
        }
    }

    /// What is meant by an image's name: the same as in a pull, though what may no longer be pulled may be looked after.
    fn named(&self, image: &str) -> Result<(Repository, ImageName), String> {
        let listen = self.address.unwrap_or(self.config.listen);
        let name: ImageName =
            behind_daemon(listen, image).parse().map_err(|error: crate::oci::Invalid| error.to_string())?;
        let written = || {
            let (registry, rest) = name.front()?;
            Some(Repository { registry: registry.parse().ok()?, name: rest.parse().ok()? })
        };
        let repository = resolve::repository(&self.config, &name.name, None);
        let repository = repository.or_else(|problem| written().ok_or(problem.0.message))?;
        Ok((repository, name))
    }
}
