//! What registrations hold, by the account that they are charged to: rows beside the content, written
//! in the transaction that registers or deletes.

use redb::ReadableTable;

use super::change::Change;
use super::tables::{Outcome, corrupt};
use crate::{Creation, Reference, RegisterError};

/// Before a printed reference: how many bytes it is charged for, and the id of the account.
const CHARGES: &str = "charges/";

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
        Ok(Ok(()))
    }

    /// Gives back what a registration that was deleted is charged for.
    pub(super) fn give_back(&mut self, reference: &Reference) -> Outcome<()> {
        let key = charge_key(reference);
        let Some(row) = self.rows.remove(key.as_bytes())?.map(|row| row.value().to_vec()) else {
            return Ok(());
        };
        let parsed = row.split_first_chunk::<NUMBER>();
        let parsed = parsed.and_then(|(bytes, id)| Some((bytes, str::from_utf8(id).ok()?)));
        let (bytes, id) = parsed.ok_or_else(|| corrupt(format!("the row {key} is no charge")))?;
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

fn account_key(account: &str) -> String {
    format!("{ACCOUNTS}{account}")
}
