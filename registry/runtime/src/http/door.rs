//! Counts connections at the door of a port: so many in all, so many from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The door of one port.
#[derive(Clone, Debug)]
pub struct Door {
    inside: Arc<Mutex<Inside>>,
    all_max: u32,
    per_address_max: u32,
}

#[derive(Debug, Default)]
struct Inside {
    all: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

/// A place inside, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    door: Door,
    address: IpAddr,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The port has as many connections as it may.
    All,
    /// The address has as many connections as it may.
    Address,
}

impl Full {
    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::All => "full",
            Self::Address => "address_full",
        }
    }
}

impl Door {
    /// A door with so many seats in all, and at most so many of them for one address.
    pub fn new(all_max: u32, per_address_max: u32) -> Self {
        Self { inside: Arc::default(), all_max, per_address_max }
    }

    /// Lets one connection in, or says why not.
    pub fn enter(&self, address: IpAddr) -> Result<Seat, Full> {
        let address = address.to_canonical();
        let mut inside = self.inside();
        if inside.all >= self.all_max {
            return Err(Full::All);
        }
        let of_address = inside.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address_max {
            return Err(Full::Address);
        }
        inside.all += 1;
        inside.by_address.insert(address, of_address + 1);
        drop(inside);
        Ok(Seat { door: self.clone(), address })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.all -= 1;
        match inside.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn one_address_cannot_take_all_seats() {
        let door = Door::new(3, 2);
        let _first = door.enter(ONE).unwrap();
        let _second = door.enter(ONE).unwrap();

        assert_eq!(door.enter(ONE).unwrap_err(), Full::Address);
        let _third = door.enter(TWO).unwrap();
        assert_eq!(door.enter(TWO).unwrap_err(), Full::All);
    }

    #[test]
    fn a_seat_given_back_can_be_taken_again_and_leaves_no_trace() {
        let door = Door::new(1, 1);
        drop(door.enter(ONE).unwrap());

        let seat = door.enter(TWO);

        assert!(seat.is_ok());
        drop(seat);
        assert!(door.inside().by_address.is_empty());
    }

    #[test]
    fn an_address_mapped_into_ipv6_is_the_same_address() {
        let door = Door::new(9, 1);
        let _first = door.enter(ONE).unwrap();

        assert_eq!(door.enter("::ffff:192.0.2.1".parse().unwrap()).unwrap_err(), Full::Address);
    }
}
