//! What is to go wrong and when: drawn from the seed before the run begins, so that it can be repeated.

use hubspot_connect::domain::random::Random;

/// How many replicas there are.
pub const REPLICAS: usize = 3;
/// Longer than the lease of a claimed refresh, which is a minute.
pub const LONG_FREEZE_MS: u64 = 65_000;
/// When the long freeze begins: early, so that a short run contains all of it.
const LONG_FREEZE_FROM_MS: u64 = 2_000;
/// Between two troubles of one replica: time to start again and to do some work.
const REST_MS: u64 = 4_000;

/// Something that goes wrong with one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL, then a new start.
    Kill,
    /// SIGKILL in the middle of refreshes that HubSpot has carried out and not answered yet.
    KillMidway,
    /// SIGKILL while the line to the database is cut.
    KillCutOff,
    /// SIGTERM, then a new start.
    Stop,
    /// SIGTERM in the middle of refreshes that HubSpot has carried out and not answered yet.
    StopMidway,
    /// SIGTERM while the line to the database is cut; it comes back while the process is on its way out.
    StopCutOff,
    /// SIGSTOP, later SIGCONT.
    Freeze,
    /// SIGSTOP in the middle of refreshes, for longer than a lease.
    LongFreeze,
    /// The line to the database: connections closed, new ones refused.
    CutDatabase,
    /// The line to the database: bytes held back.
    StallDatabase,
    /// The line to HubSpot: nothing new goes out. What HubSpot has been asked it answers.
    CutHubSpot,
    /// The line to HubSpot: requests held back.
    StallHubSpot,
}

/// A trouble at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins, since the beginning of the chaos.
    pub at_ms: u64,
    /// Whose trouble it is.
    pub replica: usize,
    /// What goes wrong.
    pub trouble: Trouble,
    /// How long it goes wrong.
    pub for_ms: u64,
}

/// What is drawn, with its weight, and how long it lasts. A request to HubSpot that is held back, answered late and
/// frozen on top must still be younger than the 20 seconds after which the service gives a call up: an answer that comes
/// later is lost to any client.
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

/// What every run has, however short it is: these come first.
const OPENING: [(Trouble, u64); 4] = [
    (Trouble::KillMidway, 500),
    (Trouble::StopCutOff, 3_000),
    (Trouble::KillCutOff, 1_500),
    (Trouble::CutDatabase, 4_000),
];

impl Trouble {
    /// Whether it may leave a claimed refresh behind, which nobody else takes up before its lease of a minute has run
    /// out.
    fn leaves_leases(self) -> bool {
        matches!(
            self,
            Self::Kill | Self::KillMidway | Self::KillCutOff | Self::CutDatabase | Self::StallDatabase
        )
    }
}

/// The whole plan of a run.
///
/// The long freeze comes first. From then on exactly one of the replicas that are not in that freeze is in trouble at a
/// time, so at least one is always left alone. In a hurry, what leaves leases behind ends early, so that nobody has to
/// wait for them at the end.
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

/// An even choice of `0..below`.
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
    fn the_same_seed_draws_the_same_plan_and_another_one_another() {
        assert_eq!(draw(7, 300_000, false), draw(7, 300_000, false));
        assert_ne!(draw(7, 300_000, false), draw(8, 300_000, false));
    }

    #[test]
    fn one_replica_is_always_left_alone_and_every_run_begins_with_a_freeze_longer_than_a_lease() {
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
    fn a_replica_has_one_trouble_at_a_time() {
        for seed in 0..50 {
            let plan = draw(seed, 600_000, false);
            for (at, step) in plan.iter().enumerate() {
                let later = plan[at + 1..].iter().filter(|other| other.replica == step.replica);
                assert!(later.clone().all(|other| other.at_ms >= step.at_ms + step.for_ms), "{seed}");
            }
        }
    }

    #[test]
    fn a_long_run_has_every_kind_of_trouble() {
        let plan = draw(1, 1_800_000, false);
        for (trouble, _, _) in MENU {
            assert!(plan.iter().any(|step| step.trouble == trouble), "{trouble:?}");
        }
    }

    #[test]
    fn in_a_hurry_no_lease_is_left_behind_late() {
        for seed in 0..50 {
            let late = draw(seed, 69_000, true).into_iter().filter(|step| step.at_ms > 24_000);
            assert!(late.clone().all(|step| !step.trouble.leaves_leases()), "{seed}");
        }
    }
}
