//! Seeded pseudo-random numbers for the simulator: the same seed gives the same faults, identifiers and order.
//!
//! SplitMix64, which is small, fast and good enough for scripts of faults. It is not for secrets: the keys of the
//! built-in host come from the operating system.

use uuid::Uuid;

/// A seeded source of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes a source; equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let roll = self.roll();
        if bound == 0 { 0 } else { roll % bound }
    }

    /// Returns true with the given probability; it draws exactly one number whatever the probability is.
    pub fn chance(&mut self, probability: f64) -> bool {
        let unit = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }

    /// Returns a version 4 UUID.
    pub fn uuid(&mut self) -> Uuid {
        let bits = (u128::from(self.roll()) << 64) | u128::from(self.roll());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// Returns a source of its own, so that one consumer's draws do not shift another's.
    pub fn fork(&mut self) -> Self {
        Self(self.roll())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_roll_alike_and_others_do_not() {
        let (mut a, mut b, mut c) = (Dice::new(7), Dice::new(7), Dice::new(8));
        assert_eq!(a.roll(), b.roll());
        assert_ne!(a.roll(), c.roll());
    }

    #[test]
    fn a_chance_is_met_about_as_often_as_it_says() {
        let mut dice = Dice::new(1);
        let hits = (0..10_000).filter(|_| dice.chance(0.1)).count();
        assert!((800..1200).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| dice.chance(0.0)));
        assert!((0..1000).all(|_| dice.chance(1.0)));
    }

    #[test]
    fn identifiers_are_version_4() {
        assert_eq!(Dice::new(3).uuid().get_version_num(), 4);
    }
}
