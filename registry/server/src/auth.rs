//! Who a caller is and what it may do: users, roles and permissions as the region keeps them, tokens, and passwords.
//!
//! Invariant: nothing is allowed because something is missing, unknown or unreadable.

pub(crate) mod book;
pub(crate) mod bootstrap;
pub(crate) mod owner;
pub(crate) mod passwords;
pub(crate) mod token;

use std::{fmt, path::Path};

use ecow::EcoString;
use landbridge_wire::nacos::http::Credentials;

use self::{
    book::Book,
    bootstrap::Bootstrap,
    passwords::{Busy, Passwords},
    token::Tokens,
};
use crate::{config::AuthConfig, metrics};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Nobody in particular: authentication is off.
    Anyone,
    /// Whoever knows the token of `admin.token_file`.
    Operator,
    /// A user.
    User(EcoString),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Operator => f.write_str("operator"),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

/// What a caller showed of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// A token, if one came.
    pub(crate) token: Option<String>,
    /// A name with its password, as Node sends along with every call.
    pub(crate) credentials: Option<Credentials>,
    /// Whether the operator's token came.
    pub(crate) operator: bool,
}

/// What a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing at all.
    Nothing,
    /// A caller with a name.
    Somebody,
    /// A permission for `namespace:group:naming/service`.
    Resource(String, Action),
    /// The same for each of several resources.
    All(Vec<String>, Action),
    /// To run this region.
    Everything,
}

/// A verb of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Write,
}

/// Why a caller was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It did not say who it is.
    Stranger,
    /// What it showed is worth nothing.
    Worthless(&'static str),
    /// It is who it says, and may not do this.
    NoRight,
    /// Too many passwords are being looked at: try again.
    Busy,
}

impl Denied {
    /// The bounded word for it in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Worthless(_) => "worthless",
            Self::NoRight => "no_right",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => f.write_str("Code: 401, Message: a token or a user is needed"),
            Self::Worthless(why) => write!(f, "Code: 401, Message: {why}"),
            Self::NoRight => f.write_str("authorization failed!"),
            Self::Busy => f.write_str("too many passwords are being checked: try again"),
        }
    }
}

/// The way from what a caller shows to what it may do.
pub(crate) struct Auth {
    tokens: Option<Tokens>,
    passwords: Passwords,
    bootstrap: Bootstrap,
}

impl Auth {
    /// As configured; with authentication on and no user yet, a one-time secret is laid beside the data.
    pub(crate) fn open(config: &AuthConfig, data_dir: &Path, has_users: bool) -> Result<Self, String> {
        let tokens = config.enabled.then(|| Tokens::new(&config.token_key, config.token_ttl_ms / 1000));
        Ok(Self {
            passwords: Passwords::new(config.password_cost),
            bootstrap: Bootstrap::open(data_dir, config.enabled && !has_users)?,
            tokens,
        })
    }

    /// Whether callers must say who they are.
    pub(crate) fn enabled(&self) -> bool {
        self.tokens.is_some()
    }

    /// How long a token lasts, in seconds.
    pub(crate) fn token_ttl_s(&self) -> u64 {
        self.tokens.as_ref().map_or(0, Tokens::ttl_s)
    }

    /// The one-time secret.
    pub(crate) fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }

    /// Passwords.
    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// A token for a user that the book knows.
    pub(crate) fn token(&self, name: &str, book: &Book, now_s: u64) -> Option<String> {
        let tokens = self.tokens.as_ref()?;
        book.user(name).map(|user| tokens.issue(name, &user.password, now_s))
    }

    /// Who the caller is, if what it shows is worth anything.
    pub(crate) async fn identify(&self, shown: &Shown, book: &Book, now_s: u64) -> Result<Principal, Denied> {
        let Some(tokens) = &self.tokens else { return Ok(Principal::Anyone) };
        if shown.operator {
            return Ok(Principal::Operator);
        }
        if let Some(token) = &shown.token {
            let password = |name: &str| book.user(name).map(|user| user.password.clone());
            return tokens.read(token, now_s, password).map(Principal::User).map_err(Denied::Worthless);
        }
        let Some(Credentials { username, password }) = &shown.credentials else {
            return Err(Denied::Stranger);
        };
        let hash = book.user(username).map(|user| user.password.clone());
        match self.passwords.fits(username, password, hash).await {
            Ok(true) => Ok(Principal::User(username.clone())),
            Ok(false) => Err(Denied::Worthless("unknown user!")),
            Err(Busy) => Err(Denied::Busy),
        }
    }

    /// Who the caller is, if it may do what it asks for. A call that needs nothing is nobody's.
    pub(crate) async fn admit(
        &self,
        shown: &Shown,
        need: &Need,
        book: &Book,
        now_s: u64,
    ) -> Result<Principal, Denied> {
        if *need == Need::Nothing {
            return Ok(Principal::Anyone);
        }
        let principal = self.identify(shown, book, now_s).await?;
        if allows(&principal, need, book) { Ok(principal) } else { Err(Denied::NoRight) }
    }
}

/// Whether a principal may do this.
pub(crate) fn allows(principal: &Principal, need: &Need, book: &Book) -> bool {
    match (principal, need) {
        (Principal::Anyone | Principal::Operator, _)
        | (Principal::User(_), Need::Nothing | Need::Somebody) => true,
        (Principal::User(name), Need::Resource(resource, action)) => {
            book.is_admin(name) || book.permits(name, resource, *action)
        }
        (Principal::User(name), Need::All(resources, action)) => {
            let may = |resource: &String| book.permits(name, resource, *action);
            book.is_admin(name) || resources.iter().all(may)
        }
        (Principal::User(name), Need::Everything) => book.is_admin(name),
    }
}

/// Counts a refusal, by protocol.
pub(crate) fn count(protocol: &'static str, denied: &Denied) {
    metrics::denied(protocol, denied.reason());
}
