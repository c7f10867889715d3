//! What registrations hold, by the account that they are charged to: rows beside the content, written
//! in the transaction that registers or deletes.

use redb::ReadableTable;

use super::change::Change;
use super::tables::{Outcome, corrupt};
use crate::{Creation, Digest, Reference, RegisterError};

/// Before a printed reference: how many bytes it is charged for, and the id of the account.
const CHARGES: &str = "charges/";

/// Before the digest of a module that only links hold: the charge of its last registration.
const KEPT: &str = "charges-of-linked/";

/// Before the id of an account: how many bytes are charged to it.
const ACCOUNTS: &str = "accounts/";

/// The bytes that a number of bytes has in a row.
const NUMBER: usize = size_of::<u64>();

impl Change<'_> {
    /// Charges a creation to its account, if it has one, unless that would be too much.
    pub(super) fn charge(&mut self, creation: &Creation) -> Outcome<Result<(), RegisterError>> {
        let Some(account) = creation.account() else { return Ok(Ok(())) };
        let asked = creation.held_bytes();
        let held = self.held(account.id())?;
        let sum = held.saturating_add(asked);
        if let Some(maximum) = account.maximum().filter(|maximum| sum > *maximum) {
            return Ok(Err(RegisterError::TooMuchHeld { held, asked, maximum }));
        }
        self.set_held(account.id(), sum)?;
        let charge = [&asked.to_be_bytes(), account.id().as_bytes()].concat();
        self.rows.insert(charge_key(&creation.reference()).as_bytes(), &*charge)?;
        // If only links held it, it is charged anew now.
        self.give_back_kept(creation.digest())?;
        Ok(Ok(()))
    }

    /// Gives back what the registration of a module is charged for, after it was deleted. If only links
    /// hold the module now, nobody would be charged for it then, so that is done when it goes.
    pub(super) fn give_back(&mut self, reference: &Reference, digest: Digest) -> Outcome<()> {
        let Some(charge) = self.take_charge(&charge_key(reference))? else { return Ok(()) };
        let kept = kept_key(digest);
        let is_linked = self.is_held(digest)? && !self.is_registered(digest)?;
        if is_linked && self.rows.get(kept.as_bytes())?.is_none() {
            self.rows.insert(kept.as_bytes(), &*charge)?;
            return Ok(());
        }
        self.credit(&charge)
    }

    /// Gives back what is charged for a module that only links held and that nothing holds any more, or
    /// that is registered again.
    pub(super) fn give_back_kept(&mut self, digest: Digest) -> Outcome<()> {
        match self.take_charge(&kept_key(digest))? {
            Some(charge) => self.credit(&charge),
            None => Ok(()),
        }
    }

    fn take_charge(&mut self, key: &str) -> Outcome<Option<Vec<u8>>> {
        Ok(self.rows.remove(key.as_bytes())?.map(|row| row.value().to_vec()))
    }

    fn credit(&mut self, charge: &[u8]) -> Outcome<()> {
        let parsed = charge.split_first_chunk::<NUMBER>();
        let parsed = parsed.and_then(|(bytes, id)| Some((bytes, str::from_utf8(id).ok()?)));
        let (bytes, id) = parsed.ok_or_else(|| corrupt("a row is no charge"))?;
        let held = self.held(id)?;
        self.set_held(id, held.saturating_sub(u64::from_be_bytes(*bytes)))
    }

    fn held(&self, account: &str) -> Outcome<u64> {
        let key = account_key(account);
        let Some(row) = self.rows.get(key.as_bytes())? else { return Ok(0) };
        let bytes = row.value().try_into();
        let bytes = bytes.map_err(|_| corrupt(format!("the row {key} is no number of bytes")))?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn set_held(&mut self, account: &str, bytes: u64) -> Outcome<()> {
        let key = account_key(account);
        match bytes {
            0 => self.rows.remove(key.as_bytes())?,
            bytes => self.rows.insert(key.as_bytes(), &bytes.to_be_bytes()[..])?,
        };
        Ok(())
    }
}

fn charge_key(reference: &Reference) -> String {
    format!("{CHARGES}{reference}")
}

fn kept_key(digest: Digest) -> String {
    format!("{KEPT}{digest}")
}

fn account_key(account: &str) -> String {
    format!("{ACCOUNTS}{account}")
}
