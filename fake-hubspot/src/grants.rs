//! Grants, and their refresh tokens.
//!
//! A refresh token encodes its grant and generation, masked so that it looks random. So the fake recognizes every token
//! it ever rotated without a list of them.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::options::Options;
use crate::random;

/// The number of the first account of the initial grants, far from the sample accounts.
const FIRST_OF_START: u64 = 100_000_000;

/// One app's permission in one account, alive until it is revoked or the app uninstalled.
#[derive(Clone, Debug, Serialize)]
pub struct Grant {
    /// Its number, which is never reused.
    pub id: u32,
    /// The account that granted.
    pub hub_id: u64,
    /// The user who consented.
    pub user_id: u64,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The app it was granted to.
    pub client_id: String,
    /// The current refresh token.
    pub refresh_token: String,
    /// The number of rotations of the refresh token.
    pub generation: u32,
}

/// The grant of a presented refresh token.
pub(crate) struct Presented {
    pub id: u32,
    pub generation: u32,
    /// The token has been replaced by a newer one.
    pub superseded: bool,
}

pub(crate) struct Grants {
    key: [u8; 32],
    living: BTreeMap<u32, Grant>,
    last_id: u32,
}

impl Grants {
    pub(crate) fn new(key: [u8; 32]) -> Grants {
        Grants { key, living: BTreeMap::new(), last_id: 0 }
    }

    /// Creates the initial grants.
    pub(crate) fn at_start(key: [u8; 32], options: &Options) -> Grants {
        let mut grants = Grants::new(key);
        for number in 1..=u64::from(options.grants) {
            let account = options.account(FIRST_OF_START + number);
            grants.add(Grant {
                id: 0,
                hub_id: account.hub_id,
                user_id: account.user_id,
                scopes: vec!["oauth".to_owned()],
                client_id: options.client_id.clone(),
                refresh_token: String::new(),
                generation: 0,
            });
        }
        grants
    }

    /// Records a new grant and gives it a refresh token.
    pub(crate) fn add(&mut self, mut grant: Grant) -> &Grant {
        self.last_id += 1;
        let id = self.last_id;
        grant.id = id;
        grant.refresh_token = self.write(id, 0);
        self.living.entry(id).or_insert(grant)
    }

    /// Returns the newest live grant of an account to an app.
    pub(crate) fn newest_mut(&mut self, hub_id: u64, client_id: &str) -> Option<&mut Grant> {
        self.living.values_mut().rev().find(|grant| grant.hub_id == hub_id && grant.client_id == client_id)
    }

    /// Returns the newest live grant of an account to any app.
    pub(crate) fn newest(&self, hub_id: u64) -> Option<&Grant> {
        self.living.values().rev().find(|grant| grant.hub_id == hub_id)
    }

    /// Recognizes a refresh token of a live grant, replaced or not.
    pub(crate) fn find(&self, token: &str) -> Option<Presented> {
        let (id, generation) = self.read(token)?;
        let grant = self.living.get(&id)?;
        Some(Presented { id, generation, superseded: generation < grant.generation })
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Grant> {
        self.living.get(&id)
    }

    /// Replaces the refresh token of a grant.
    pub(crate) fn rotate(&mut self, id: u32) {
        let Some(generation) = self.living.get(&id).map(|grant| grant.generation + 1) else {
            return;
        };
        let refresh_token = self.write(id, generation);
        if let Some(grant) = self.living.get_mut(&id) {
            grant.generation = generation;
            grant.refresh_token = refresh_token;
        }
    }

    /// Ends one grant.
    pub(crate) fn revoke(&mut self, id: u32) {
        self.living.remove(&id);
    }

    /// Ends every grant of an account, and returns their number.
    pub(crate) fn uninstall(&mut self, hub_id: u64) -> usize {
        let before = self.living.len();
        self.living.retain(|_, grant| grant.hub_id != hub_id);
        before - self.living.len()
    }

    /// Returns the live grants, oldest first.
    pub(crate) fn all(&self) -> Vec<Grant> {
        self.living.values().cloned().collect()
    }

    fn write(&self, id: u32, generation: u32) -> String {
        let plain = (u64::from(id) << 32 | u64::from(generation)).to_be_bytes();
        let seal = self.hash(&plain);
        let masked = u64::from_be_bytes(plain) ^ u64::from_be_bytes(self.hash(&seal));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&masked.to_be_bytes());
        bytes[8..].copy_from_slice(&seal);
        random::na1(bytes)
    }

    fn read(&self, token: &str) -> Option<(u32, u32)> {
        let bytes = random::from_na1(token)?;
        let (masked, seal) = bytes.split_first_chunk()?;
        let plain = u64::from_be_bytes(*masked) ^ u64::from_be_bytes(self.hash(seal));
        let id = u32::try_from(plain >> 32).ok()?;
        let generation = u32::try_from(plain & u64::from(u32::MAX)).ok()?;
        // Only the exact text counts: another spelling of the same bytes is another token.
        (self.write(id, generation) == token).then_some((id, generation))
    }

    fn hash(&self, content: &[u8]) -> [u8; 8] {
        let digest = Sha256::new().chain_update(self.key).chain_update(content).finalize();
        let mut hash = [0; 8];
        hash.copy_from_slice(&digest[..8]);
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_grants_each_have_an_account_and_a_token() {
        let grants = Grants::at_start([1; 32], &Options { grants: 3, ..Options::default() });
        let all = grants.all();
        let accounts: Vec<u64> = all.iter().map(|grant| grant.hub_id).collect();
        assert_eq!(accounts, [100_000_001, 100_000_002, 100_000_003]);
        for (number, grant) in all.iter().enumerate() {
            let found = grants.find(&grant.refresh_token).expect("known");
            assert_eq!((found.id as usize, found.superseded), (number + 1, false));
        }
    }
}
