//! An operator's order on its way to the leader, and how it ended.

use std::io;

use landbridge_model::MemberId;
use prost::Message;

use crate::{
    changing::{Change, ChangeError},
    codec::unreadable,
    failure::ProposeError,
};

/// An operator's order.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct ChangeCall {
    /// 1 add, 2 promote, 3 remove, 4 replace, 5 transfer.
    #[prost(uint32, tag = "1")]
    what: u32,
    #[prost(uint32, tag = "2")]
    member: u32,
    /// Who comes, where somebody is replaced.
    #[prost(uint32, tag = "3")]
    other: u32,
}

impl ChangeCall {
    pub(crate) fn of(change: Change) -> Self {
        let (what, member, other) = match change {
            Change::Add(new) => (1, new, MemberId(0)),
            Change::Promote(learner) => (2, learner, MemberId(0)),
            Change::Remove(old) => (3, old, MemberId(0)),
            Change::Replace { old, new } => (4, old, new),
            Change::Transfer(heir) => (5, heir, MemberId(0)),
        };
        Self { what, member: member.0.into(), other: other.0.into() }
    }

    pub(crate) fn change(self) -> io::Result<Change> {
        let number =
            |number| u16::try_from(number).map(MemberId).map_err(|error| unreadable("member", error));
        let (member, other) = (number(self.member)?, number(self.other)?);
        match self.what {
            1 => Ok(Change::Add(member)),
            2 => Ok(Change::Promote(member)),
            3 => Ok(Change::Remove(member)),
            4 => Ok(Change::Replace { old: member, new: other }),
            5 => Ok(Change::Transfer(member)),
            what => Err(unreadable("order", format_args!("change {what} is not known"))),
        }
    }
}

/// How an order ended.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChangeAnswer {
    /// 0 done, 1 refused, 2 asked somebody who does not lead, 3 not decided.
    #[prost(uint32, tag = "1")]
    what: u32,
    #[prost(string, tag = "2")]
    why: String,
}

impl ChangeAnswer {
    pub(crate) fn of(answer: Result<(), ChangeError>) -> Self {
        let (what, why) = match answer {
            Ok(()) => (0, String::new()),
            Err(ChangeError::Unsafe(why)) => (1, why),
            Err(ChangeError::Undecided(ProposeError::NotLeader(_))) => (2, String::new()),
            Err(ChangeError::Undecided(
                ProposeError::Unavailable(_) | ProposeError::Full(_) | ProposeError::Stopped,
            )) => (3, String::new()),
        };
        Self { what, why }
    }

    pub(crate) fn answer(self) -> Result<(), ChangeError> {
        match self.what {
            0 => Ok(()),
            1 => Err(ChangeError::Unsafe(self.why)),
            2 => Err(ProposeError::NotLeader(None).into()),
            _ => Err(ProposeError::Unavailable("the leader did not get it decided").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn back<M: Message + Default>(message: &M) -> M {
        codec::read("call", codec::write(message)).unwrap()
    }

    #[test]
    fn orders_come_back_as_sent() {
        let [one, two] = [MemberId(1), MemberId(u16::MAX)];
        for change in [
            Change::Add(one),
            Change::Promote(two),
            Change::Remove(one),
            Change::Replace { old: one, new: two },
            Change::Transfer(two),
        ] {
            assert_eq!(back(&ChangeCall::of(change)).change().unwrap(), change);
        }
        for answer in
            [Ok(()), Err(ChangeError::Unsafe("why".into())), Err(ProposeError::NotLeader(None).into())]
        {
            assert_eq!(back(&ChangeAnswer::of(answer.clone())).answer(), answer);
        }
    }
}
