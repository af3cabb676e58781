//! A small mutator: the same seed gives the same inputs.

use fastrand::Rng;

/// Inputs larger than this are cut.
const LARGEST: usize = 16 << 10;

/// Makes new inputs from seeds.
#[derive(Debug)]
pub struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// A mutator over these seeds, of which there must be one, and words of the input's language.
    pub fn new(seeds: &'a [Vec<u8>], words: &'a [&'a str]) -> Self {
        Self { seeds, words }
    }

    /// The input with this number, which depends on nothing else.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::with_seed(number);
        let mut input = self.seed(&mut rng).to_vec();
        for _ in 0..1 + rng.usize(..6) {
            self.change(&mut rng, &mut input);
        }
        input.truncate(LARGEST);
        input
    }

    fn seed(&self, rng: &mut Rng) -> &'a [u8] {
        &self.seeds[rng.usize(..self.seeds.len())]
    }

    fn change(&self, rng: &mut Rng, input: &mut Vec<u8>) {
        const NUMBERS: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'/', b'\n'];
        let at = rng.usize(..=input.len());
        let end = (at + 1 + rng.usize(..32)).min(input.len());
        match rng.u8(..9) {
            0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
            1 if at < input.len() => input[at] = rng.u8(..),
            2 if at < input.len() => input[at] = NUMBERS[rng.usize(..NUMBERS.len())],
            3 => drop(input.drain(at..end)),
            4 => {
                let copy = input[at..end].to_vec();
                let to = rng.usize(..=input.len());
                input.splice(to..to, copy);
            }
            5 if rng.bool() => input.truncate(at),
            6 => {
                // The head of this one and the tail of another.
                let other = self.seed(rng);
                let from = rng.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ if !self.words.is_empty() => {
                let word = self.words[rng.usize(..self.words.len())];
                // In the place of what is there, or between.
                let end = if rng.bool() { end } else { at };
                input.splice(at..end, word.bytes());
            }
            _ => input.insert(at, rng.u8(..)),
        }
    }
}
