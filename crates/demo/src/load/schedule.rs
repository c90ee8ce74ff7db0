//! What arrives when: decided by the seed alone.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::rng::Rng;

/// One request as it should be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) path: &'static str,
    pub(crate) token: &'static str,
    /// Body of a POST; `None`: a GET.
    pub(crate) body: Option<String>,
    /// The status that a healthy service answers.
    pub(crate) expected: u16,
}

/// A request and when it comes, counted from the start.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) ask: Ask,
}

/// An endless sequence of arrivals: a Poisson process whose rate wanders slowly, a few percent up and down.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rng: Rng,
    base_rps: f64,
    /// Makes e-mail addresses differ from those of another run on the same database.
    run: String,
    seed: u64,
    elapsed_s: f64,
    count: u64,
    phases: [f64; 2],
}

const PLAIN_NAMES: [&str; 9] = ["John", "mary", "Ahmed", "Li", "Olga", "Peter", "Grace", "carlos", "Ada"];
const OTHER_NAMES: [&str; 6] = ["Zoë", "Jürgen", "Łukasz", "Søren", "Amélie", "Nuño"];
/// Share of people whose name is not plain ASCII.
const OTHER_SHARE: f64 = 0.25;

const USERS: &str = "/api/v1/users";

impl Schedule {
    pub(crate) fn new(seed: u64, base_rps: f64, run: &str) -> Self {
        let mut rng = Rng::seeded(seed);
        let phases = [rng.unit() * TAU, rng.unit() * TAU];
        Self { rng, base_rps, run: run.to_owned(), seed, elapsed_s: 0.0, count: 0, phases }
    }

    /// The next arrival when the rate is `factor` times the usual one.
    pub(crate) fn next(&mut self, factor: f64) -> Arrival {
        self.elapsed_s += self.rng.until_next(self.base_rps * factor * self.wander());
        Arrival { at: Duration::from_secs_f64(self.elapsed_s), ask: self.ask() }
    }

    /// Leaves out the next `time`.
    pub(crate) fn skip(&mut self, time: Duration) {
        self.elapsed_s += time.as_secs_f64();
    }

    /// Between 0.92 and 1.08.
    fn wander(&self) -> f64 {
        let [slow, fast] = self.phases;
        1.0 + 0.05 * (TAU * self.elapsed_s / 97.0 + slow).sin() + 0.03 * (TAU * self.elapsed_s / 41.0 + fast).sin()
    }

    /// 85 % create a user, 10 % list users, 5 % are wrong in one of four ways.
    fn ask(&mut self) -> Ask {
        self.count += 1;
        let is_first = self.count == 1;
        let choice = self.rng.unit();
        let user = self.user(self.count);
        let post = |token, body, expected| Ask { path: USERS, token, body: Some(body), expected };
        match choice {
            // The first user is the one whose address is taken ever after.
            _ if is_first => post("token", user, 201),
            choice if choice < 0.85 => post("token", user, 201),
            choice if choice < 0.95 => {
                Ask { path: "/api/v1/users?limit=20", token: "token", body: None, expected: 200 }
            }
            choice if choice < 0.9625 => post("token", r#"{"email":"not an address","firstName":"John"}"#.into(), 400),
            choice if choice < 0.975 => post("expired-token", user, 401),
            choice if choice < 0.9875 => post("viewer-token", user, 403),
            _ => {
                let first = serde_json::json!({ "email": self.email(1), "firstName": "John" });
                post("token", first.to_string(), 409)
            }
        }
    }

    fn user(&mut self, number: u64) -> String {
        let names: &[&str] = if self.rng.unit() < OTHER_SHARE { &OTHER_NAMES } else { &PLAIN_NAMES };
        let name = self.rng.pick(names).copied().unwrap_or("John");
        serde_json::json!({ "email": self.email(number), "firstName": name }).to_string()
    }

    fn email(&self, number: u64) -> String {
        format!("user-{}-{}-{number}@example.com", self.run, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(seed: u64, base_rps: f64, factor: f64, count: usize) -> Vec<Arrival> {
        let mut schedule = Schedule::new(seed, base_rps, "test");
        (0..count).map(|_| schedule.next(factor)).collect()
    }

    #[test]
    fn one_seed_gives_one_schedule() {
        assert_eq!(arrivals(7, 50.0, 1.0, 500), arrivals(7, 50.0, 1.0, 500));
        assert_ne!(arrivals(7, 50.0, 1.0, 500), arrivals(8, 50.0, 1.0, 500));
    }

    #[test]
    fn the_rate_is_the_one_asked_for() {
        for (base_rps, factor) in [(50.0, 1.0), (50.0, 2.5), (80.0, 1.4)] {
            let all = arrivals(3, base_rps, factor, 20_000);
            let rate = 20_000.0 / all.last().unwrap().at.as_secs_f64();
            assert!((rate / (base_rps * factor) - 1.0).abs() < 0.05, "{base_rps} x {factor}: {rate}");
        }
    }

    #[test]
    fn the_mix_is_the_one_described() {
        let all = arrivals(5, 50.0, 1.0, 40_000);
        for (status, share) in [(201, 0.85), (200, 0.10), (400, 0.0125), (401, 0.0125), (403, 0.0125), (409, 0.0125)] {
            let count = all.iter().filter(|arrival| arrival.ask.expected == status).count();
            assert!((count as f64 / 40_000.0 - share).abs() < 0.01, "{status}: {count}");
        }
        let created = all.iter().filter(|arrival| arrival.ask.expected == 201);
        let bodies: Vec<&String> = created.filter_map(|arrival| arrival.ask.body.as_ref()).collect();
        let other = bodies.iter().filter(|body| !body.is_ascii()).count() as f64 / bodies.len() as f64;
        assert!((other - OTHER_SHARE).abs() < 0.02, "{other}");
        let unique: std::collections::BTreeSet<&String> = bodies.iter().copied().collect();
        assert_eq!(unique.len(), bodies.len());
    }
}
