//! The plan of a run: the faults and their times, drawn from the seed before the run so that it can be repeated.

use hubspot_connect::domain::random::Random;

/// The number of replicas.
pub const REPLICAS: usize = 3;
/// Longer than the lease of an acquired refresh, which is a minute.
pub const LONG_FREEZE_MS: u64 = 65_000;
/// The start of the long freeze: early, so that a short run contains all of it.
const LONG_FREEZE_FROM_MS: u64 = 2_000;
/// The time between two faults of one replica: enough to start again and to do some work.
const REST_MS: u64 = 4_000;

/// A fault of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL, then a restart.
    Kill,
    /// SIGKILL in the middle of refreshes that HubSpot has processed and not answered yet.
    KillMidway,
    /// SIGKILL while the line to the database is cut.
    KillCutOff,
    /// SIGTERM, then a restart.
    Stop,
    /// SIGTERM in the middle of refreshes that HubSpot has processed and not answered yet.
    StopMidway,
    /// SIGTERM while the line to the database is cut; the line is restored while the process shuts down.
    StopCutOff,
    /// SIGSTOP, then SIGCONT.
    Freeze,
    /// SIGSTOP in the middle of refreshes, for longer than a lease.
    LongFreeze,
    /// The line to the database is cut: connections are closed, new ones refused.
    CutDatabase,
    /// The line to the database stalls: bytes are held.
    StallDatabase,
    /// The line to HubSpot is cut for new requests; responses still arrive.
    CutHubSpot,
    /// The line to HubSpot stalls: requests are held.
    StallHubSpot,
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The start, relative to the start of the faults.
    pub at_ms: u64,
    /// The replica.
    pub replica: usize,
    /// The fault.
    pub trouble: Trouble,
    /// The duration.
    pub for_ms: u64,
}

/// The faults with their weights and durations. A request to HubSpot that is held, answered late and frozen on top must
/// still be younger than the 20 seconds after which the service gives up a call: a later response is lost to any
/// client.
const MENU: [(Trouble, u32, (u64, u64)); 11] = [
    (Trouble::Kill, 4, (0, 2_000)),
    (Trouble::KillMidway, 3, (0, 2_000)),
    (Trouble::KillCutOff, 2, (500, 3_000)),
    (Trouble::Stop, 2, (0, 1_000)),
    (Trouble::StopMidway, 3, (0, 1_000)),
    (Trouble::StopCutOff, 2, (1_000, 6_000)),
    (Trouble::Freeze, 3, (1_000, 6_000)),
    (Trouble::CutDatabase, 4, (1_000, 10_000)),
    (Trouble::StallDatabase, 3, (1_000, 10_000)),
    (Trouble::CutHubSpot, 2, (1_000, 10_000)),
    (Trouble::StallHubSpot, 2, (1_000, 5_000)),
];

/// The first faults of every run, so that even a short one has them.
const OPENING: [(Trouble, u64); 4] = [
    (Trouble::KillMidway, 500),
    (Trouble::StopCutOff, 3_000),
    (Trouble::KillCutOff, 1_500),
    (Trouble::CutDatabase, 4_000),
];

impl Trouble {
    /// Returns whether the fault may leave an acquired refresh behind, which no other replica acquires before its lease
    /// of a minute has expired.
    fn leaves_leases(self) -> bool {
        matches!(
            self,
            Self::Kill | Self::KillMidway | Self::KillCutOff | Self::CutDatabase | Self::StallDatabase
        )
    }
}

/// Draws the whole plan of a run.
///
/// The long freeze comes first. From then on exactly one of the replicas outside that freeze has a fault at a time, so
/// at least one is always undisturbed. In a hurried run, faults that leave leases end early, so that the end of the run
/// does not wait for them.
pub fn draw(seed: u64, length_ms: u64, hurry: bool) -> Vec<Step> {
    let random = Random::seeded(seed);
    let frozen = pick(&random, REPLICAS as u64) as usize;
    let mut plan = vec![Step {
        at_ms: LONG_FREEZE_FROM_MS,
        replica: frozen,
        trouble: Trouble::LongFreeze,
        for_ms: LONG_FREEZE_MS,
    }];
    let thawed = LONG_FREEZE_FROM_MS + LONG_FREEZE_MS;
    let mut rested = [0; REPLICAS];
    rested[frozen] = thawed + REST_MS;
    let (mut now, mut opening) = (LONG_FREEZE_FROM_MS, OPENING.into_iter());
    loop {
        now += 300 + pick(&random, 1_200);
        let (mut trouble, for_ms) = opening.next().unwrap_or_else(|| dish(&random));
        let replica = pick(&random, REPLICAS as u64) as usize;
        let replica = (0..REPLICAS)
            .map(|more| (replica + more) % REPLICAS)
            .min_by_key(|replica| rested[*replica].max(now));
        let Some(replica) = replica else { return plan };
        now = now.max(rested[replica]);
        if hurry && trouble.leaves_leases() && now + for_ms + 45_000 > length_ms {
            trouble = Trouble::StopMidway;
        }
        if now + for_ms >= length_ms {
            return plan;
        }
        plan.push(Step { at_ms: now, replica, trouble, for_ms });
        now += for_ms;
        rested[replica] = now + REST_MS;
    }
}

/// Draws a number of `0..below` with equal chances.
pub fn pick(random: &Random, below: u64) -> u64 {
    // Below the bound by construction, and far below what a double holds exactly.
    (random.unit() * below as f64) as u64
}

fn dish(random: &Random) -> (Trouble, u64) {
    let all: u32 = MENU.iter().map(|(_, weight, _)| weight).sum();
    let mut drawn = pick(random, all.into());
    for (trouble, weight, (least, most)) in MENU {
        if drawn < weight.into() {
            return (trouble, least + pick(random, most - least));
        }
        drawn -= u64::from(weight);
    }
    (Trouble::Kill, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_depend_only_on_the_seed() {
        assert_eq!(draw(7, 300_000, false), draw(7, 300_000, false));
        assert_ne!(draw(7, 300_000, false), draw(8, 300_000, false));
    }

    #[test]
    fn one_replica_is_undisturbed_and_runs_start_with_a_freeze_longer_than_a_lease() {
        for seed in 0..50 {
            let plan = draw(seed, 600_000, false);
            assert_eq!((plan[0].trouble, plan[0].for_ms), (Trouble::LongFreeze, LONG_FREEZE_MS));
            for step in &plan {
                let during: Vec<_> = plan
                    .iter()
                    .filter(|other| other.at_ms <= step.at_ms && step.at_ms < other.at_ms + other.for_ms)
                    .map(|other| other.replica)
                    .chain([step.replica])
                    .collect();
                assert!((0..REPLICAS).any(|replica| !during.contains(&replica)), "{seed}: {plan:?}");
            }
        }
    }

    #[test]
    fn replicas_have_one_fault_at_a_time() {
        for seed in 0..50 {
            let plan = draw(seed, 600_000, false);
            for (at, step) in plan.iter().enumerate() {
                let later = plan[at + 1..].iter().filter(|other| other.replica == step.replica);
                assert!(later.clone().all(|other| other.at_ms >= step.at_ms + step.for_ms), "{seed}");
            }
        }
    }

    #[test]
    fn long_runs_have_every_kind_of_fault() {
        let plan = draw(1, 1_800_000, false);
        for (trouble, _, _) in MENU {
            assert!(plan.iter().any(|step| step.trouble == trouble), "{trouble:?}");
        }
    }

    #[test]
    fn hurried_runs_leave_no_late_lease() {
        for seed in 0..50 {
            let late = draw(seed, 69_000, true).into_iter().filter(|step| step.at_ms > 24_000);
            assert!(late.clone().all(|step| !step.trouble.leaves_leases()), "{seed}");
        }
    }
}
