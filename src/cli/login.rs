//! `longshore login`: makes credentials work now, with a person there to help.
//!
//! Forgets failures, signs in to IAM Identity Center where that is what is missing, and mints. Docker's configuration is
//! `setup`'s business, other sign-ins are the AWS CLI's.

use std::{
    io::{self, Write as _},
    process::{self, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{
    BoxError,
    place::{Asked, Place, Problem, near},
};
use crate::{
    credentials::{self, Credentials, Demand, run_to_end},
    ecr::{AuthorizationToken, Identity, MintError, MintErrorKind, Profiles, SignIn, SignInBy, source},
    environment,
};

/// A sign-in that is over so soon is over.
const SOON: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
#[command(after_help = "Docker is told to ask for these tokens by: longshore setup docker --registry HOST")]
pub(super) struct Command {
    /// An ECR registry; without one only the sign-in to IAM Identity Center is seen to
    registry: Option<String>,
    /// The AWS profile, which beats the rules of the configuration
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,
    /// Open no browser: print the page only
    #[arg(long)]
    no_browser: bool,
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    let place = Place::open()?;
    let words = match &command.registry {
        Some(name) => {
            let asked = place.asked(name, command.profile.clone())?;
            run_to_end(mint(place, asked, command))?
        }
        None => run_to_end(sign_in(&place, command))?,
    };
    writeln!(io::stdout().lock(), "{}", words?)?;
    Ok(())
}

/// Signs in where that is needed, and mints a token.
async fn mint(place: Place, asked: Asked, command: &Command) -> Result<String, BoxError> {
    let Asked { registry, wanted } = asked;
    credentials::forget_failures(&place.tokens, &wanted);
    let source = source(&wanted.identity, &Profiles::read());
    let mut is_signed_in = false;
    if let SignInBy::SignIn(sign_in) = &source {
        is_signed_in = ensure(sign_in, command).await?.is_new;
    }
    let keeps = place.keeps();
    let credentials = Credentials::new(Arc::new(place.config), place.tokens).interactive();
    let mut minted = credentials.token(wanted.clone(), Some(&registry), Demand::Anew).await;
    if let (SignInBy::SignIn(sign_in), false, Err(error)) = (&source, is_signed_in, &minted)
        && is_refused_sign_in(error)
    {
        // good by its date, and not taken any more
        invite(sign_in, command).await?;
        minted = credentials.token(wanted.clone(), Some(&registry), Demand::Anew).await;
    }
    let AuthorizationToken { expires_at, .. } = minted.map_err(|error| Problem::from(&*error))?;
    let until = near(expires_at, SystemTime::now());
    let note = if keeps { "" } else { "; it is not kept, since token_store = \"memory\" leaves tokens to the daemon" };
    Ok(format!("{registry}: a token for {wanted} as {}, good until {until}{note}", wanted.identity))
}

/// Signs in, and no more.
async fn sign_in(place: &Place, command: &Command) -> Result<String, BoxError> {
    credentials::forget_all_failures(&place.tokens)?;
    let identity = Identity { profile: command.profile.clone(), ..Identity::default() };
    match source(&identity, &Profiles::read()) {
        SignInBy::SignIn(sign_in) => {
            let end = ensure(&sign_in, command).await?.end;
            Ok(format!("{} is signed in until {}", sign_in.name(), near(end, SystemTime::now())))
        }
        SignInBy::Console { profile, command } => {
            let cause = format!("the console sign-in of profile {profile:?} is the AWS CLI's to renew");
            Err(Problem::new(cause, format!("run: {command}")).into())
        }
        SignInBy::Elsewhere => {
            let cause = format!("{identity} has no sign-in; failures of a moment ago are forgotten");
            Err(Problem::new(cause, "name the registry to get its token: longshore login REGISTRY").into())
        }
    }
}

/// A sign-in that is good.
struct SignedIn {
    end: SystemTime,
    /// Whether a person has just signed in.
    is_new: bool,
}

/// Signs in unless somebody is.
async fn ensure(sign_in: &SignIn, command: &Command) -> Result<SignedIn, Problem> {
    let is_good = |end: &SystemTime| *end > SystemTime::now() + SOON;
    if let Some(end) = sign_in.expires_at().filter(is_good) {
        return Ok(SignedIn { end, is_new: false });
    }
    if let Some(end) = sign_in.renew().await.map_err(problem)? {
        return Ok(SignedIn { end, is_new: false });
    }
    Ok(SignedIn { end: invite(sign_in, command).await?, is_new: true })
}

/// Shows the person the page, and waits.
async fn invite(sign_in: &SignIn, command: &Command) -> Result<SystemTime, Problem> {
    let invitation = sign_in.invite().await.map_err(problem)?;
    let link = invitation.link.as_ref().unwrap_or(&invitation.page);
    let words = format!(
        "longshore: to sign in to {}, open {link}\nlongshore: and confirm this code there: {}",
        sign_in.name(),
        invitation.code
    );
    // a person who cannot see it cannot sign in: the code runs out, and that is said
    let _ = writeln!(io::stderr(), "{words}");
    if !command.no_browser {
        open(link);
    }
    invitation.accepted().await.map_err(problem)
}

/// Opens a page in the browser, if there is one: the address is on the terminal anyway.
fn open(page: &str) {
    let is_mac = cfg!(target_os = "macos");
    let is_set = |name| environment::variable(name).is_some();
    if is_mac || ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set) {
        let mut command = process::Command::new(if is_mac { "open" } else { "xdg-open" });
        let _ = command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

fn is_refused_sign_in(error: &credentials::Error) -> bool {
    matches!(error, credentials::Error::Mint { source, .. } if source.kind == MintErrorKind::CredentialsFailed)
}

fn problem(error: MintError) -> Problem {
    Problem::new(error.cause, error.remedy)
}
