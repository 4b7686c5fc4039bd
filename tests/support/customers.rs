//! Customers who buy as the lifetime models assume, from a seed.

/// A small generator of numbers (SplitMix64), so that a seed is all that customers need to be made
/// again.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, neither of them.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    fn exponential(&mut self, rate: f64) -> f64 {
        -self.uniform().ln() / rate
    }

    /// Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.exponential(0.5).sqrt(), self.uniform());
        radius * (std::f64::consts::TAU * angle).cos()
    }

    /// Marsaglia and Tsang (2000), "A simple method for generating gamma variables"; a shape below
    /// 1 as they advise.
    pub fn gamma(&mut self, shape: f64, rate: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0, rate) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v / rate;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a, 1.0), self.gamma(b, 1.0));
        x / (x + y)
    }
}

/// What customers are drawn from: r, α, a and b of the purchases, p, q and γ of their values.
pub struct Market {
    pub purchases: [f64; 4],
    pub values: [f64; 3],
}

impl Market {
    /// The times of a customer's purchases up to `until`, from the first at 0, each with its value.
    pub fn customer(&self, until: f64, random: &mut Random) -> Vec<(f64, f64)> {
        let ([r, alpha, a, b], [p, q, gamma]) = (self.purchases, self.values);
        let (rate, leaves) = (random.gamma(r, alpha), random.beta(a, b));
        let spread = random.gamma(q, gamma);
        let mut purchases = vec![(0.0, random.gamma(p, spread))];
        loop {
            // A rate may be as small as 0: then the next purchase comes at infinity.
            let at = purchases[purchases.len() - 1].0 + random.exponential(rate);
            if at > until {
                return purchases;
            }
            purchases.push((at, random.gamma(p, spread)));
            if random.uniform() < leaves {
                return purchases;
            }
        }
    }
}
