//! The lifetime models against the figures their authors published, against simulated customers,
//! and on input they can't be fitted to.

use crate::support::customers::{Market, Random};
use dealpulse::lifetime::{
    BgNbd, GammaGamma, Horizon, LifetimeError, MAX_HORIZON, Spend, Summary, WEEKS_PER_YEAR, predict,
};

/// The calibration sample of the paper: customers of the online shop CDNOW, in weeks and US
/// dollars; equal lines are counted.
const CDNOW: &str = include_str!("fixtures/cdnow.csv");

/// Purchases after the first, time to the last of them and to the end.
fn summary(frequency: u32, recency: f64, age: f64) -> Summary {
    Summary {
        frequency,
        recency,
        age,
    }
}

fn cdnow() -> Vec<(Summary, Spend)> {
    let mut customers = Vec::new();
    for line in CDNOW.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let [count, frequency, recency, age, mean] = line
            .split(',')
            .map(|field| field.parse::<f64>().unwrap())
            .collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let purchases = frequency as u32;
        let customer = (summary(purchases, recency, age), Spend { purchases, mean });
        customers.extend(std::iter::repeat_n(customer, count as usize));
    }
    customers
}

fn summaries(customers: &[(Summary, Spend)]) -> Vec<Summary> {
    customers.iter().map(|(summary, _)| *summary).collect()
}

fn spends(customers: &[(Summary, Spend)]) -> Vec<Spend> {
    customers.iter().map(|(_, spend)| *spend).collect()
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} instead of {expected}"
    );
}

fn published() -> BgNbd {
    BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap()
}

fn published_values() -> GammaGamma {
    GammaGamma::new(6.25, 3.74, 15.44).unwrap()
}

/// Fader, Hardie and Lee (2005), table 2 and section 4.
#[test]
fn the_purchase_model_is_fitted_to_the_figures_of_its_paper() {
    let summaries = summaries(&cdnow());
    assert_eq!(summaries.len(), 2_357);
    let fit = BgNbd::fit(&summaries).unwrap();
    close(fit.model.r, 0.243, 0.0005);
    close(fit.model.alpha, 4.414, 0.0005);
    close(fit.model.a, 0.793, 0.0005);
    close(fit.model.b, 2.426, 0.0005);
    close(fit.log_likelihood, -9582.4, 0.05);
    let customer = summary(2, 30.43, 38.86);
    close(
        fit.model.expected_purchases(&customer, 39.0).unwrap(),
        1.226,
        0.0005,
    );
}

/// Fader and Hardie (2013), and the ten first customers of its spreadsheet.
#[test]
fn the_value_model_is_fitted_to_the_figures_of_its_note() {
    let spends = spends(&cdnow());
    assert_eq!(spends.iter().filter(|s| s.purchases > 0).count(), 946);
    let fit = GammaGamma::fit(&spends).unwrap();
    assert_eq!(fit.customers, 946);
    close(fit.model.p, 6.25, 0.005);
    close(fit.model.q, 3.74, 0.005);
    close(fit.model.gamma, 15.44, 0.01);
    // The spreadsheet has the parameters with all their digits.
    let value = |purchases, mean| fit.model.expected_value(&Spend { purchases, mean });
    for (purchases, mean, expected) in [
        (2, 22.35, 24.65),
        (1, 11.77, 18.91),
        (0, 0.0, 35.17),
        (7, 73.74, 71.46),
        (2, 25.55, 27.28),
    ] {
        close(value(purchases, mean), expected, 0.01);
    }
    close(fit.model.mean_value(), value(0, 0.0), 1e-12);
}

/// Equation (10) of the paper as it is printed, with the hypergeometric function, to 40 digits
/// (mpmath); around a = 1 the mean of both sides.
#[test]
fn expected_purchases_equal_the_equation_of_the_paper_also_where_it_loses_its_digits() {
    type Case = ([f64; 4], u32, f64, f64, f64, f64);
    let cases: [Case; 9] = [
        (
            [0.243, 4.414, 0.793, 2.426],
            2,
            30.43,
            38.86,
            39.0,
            1.2260281747671444,
        ),
        (
            [0.243, 4.414, 0.793, 2.426],
            0,
            0.0,
            38.86,
            39.0,
            0.19509805201126264,
        ),
        (
            [0.243, 4.414, 0.793, 2.426],
            26,
            30.86,
            31.0,
            52.0,
            25.758195936483515,
        ),
        ([0.5, 0.05, 0.3, 0.4], 0, 0.0, 0.1, 52.0, 26.262044202346676),
        (
            [1.5, 6.0, 1.7, 3.0],
            150,
            500.0,
            520.0,
            52.0,
            2.782179172306832,
        ),
        (
            [0.8, 10.0, 0.02, 30.0],
            40,
            100.0,
            101.0,
            520.0,
            187.9913070940242,
        ),
        (
            [3.0, 2.0, 40.0, 60.0],
            1,
            1.0,
            200.0,
            1044.0,
            1.8468556033431605e-7,
        ),
        (
            [0.1, 0.01, 0.3, 0.6],
            0,
            0.0,
            0.0,
            1044.0,
            408.88970071766216,
        ),
        (
            [0.6, 8.0, 1.0, 2.0],
            3,
            20.0,
            30.0,
            52.0,
            1.9338845553357521,
        ),
    ];
    for ([r, alpha, a, b], frequency, recency, age, horizon, expected) in cases {
        let model = BgNbd::new(r, alpha, a, b).unwrap();
        let customer = summary(frequency, recency, age);
        let found = model.expected_purchases(&customer, horizon).unwrap();
        close(found / expected, 1.0, 1e-9);
    }
}

#[test]
fn a_customer_with_hundreds_of_purchases_has_neither_an_overflow_nor_an_underflow() {
    let model = published();
    let customer = summary(2_000, 990.0, 1_000.0);
    let expected = model.expected_purchases(&customer, MAX_HORIZON).unwrap();
    assert!(expected.is_finite() && expected > 0.0, "{expected}");
    assert!(model.p_alive(&customer).unwrap() < 1e-4);
    assert!(model.log_likelihood(&[customer]).unwrap().is_finite());
}

#[test]
fn a_customer_is_the_less_likely_active_the_longer_the_silence_and_surely_after_one_purchase() {
    let model = published();
    let silent = |age| model.p_alive(&summary(4, 20.0, age)).unwrap();
    assert!(silent(20.0) > silent(30.0) && silent(30.0) > silent(60.0));
    close(silent(20.0), 1.0 / (1.0 + 0.793 / 5.426), 1e-12);
    let once = summary(0, 0.0, 38.86);
    assert_eq!(model.p_alive(&once), Ok(1.0));
}

#[test]
fn no_time_brings_no_purchase_and_a_longer_horizon_never_fewer() {
    let model = published();
    let customer = summary(3, 8.0, 12.0);
    let within = |horizon| model.expected_purchases(&customer, horizon).unwrap();
    assert_eq!(within(0.0), 0.0);
    // At first as the rate says: (r + x) / (α + T), for those still active.
    let rate = model.p_alive(&customer).unwrap() * (0.243 + 3.0) / (4.414 + 12.0);
    close(within(1e-6) / 1e-6 / rate, 1.0, 1e-5);
    let mut last = 0.0;
    for horizon in [0.5, 1.0, 4.0, 52.0, 520.0, MAX_HORIZON] {
        assert!(within(horizon) > last);
        last = within(horizon);
    }
}

/// The standard errors of a sample of this size are a few hundredths of the parameters; a is
/// hardest to tell from b.
#[test]
fn parameters_that_customers_were_drawn_from_are_found_again() {
    for (seed, market) in [
        Market {
            purchases: [0.243, 4.414, 0.793, 2.426],
            values: [6.25, 3.74, 15.44],
        },
        Market {
            purchases: [1.2, 9.0, 0.5, 4.0],
            values: [2.0, 4.0, 900.0],
        },
        Market {
            purchases: [0.7, 2.0, 1.5, 3.0],
            values: [0.8, 2.5, 40_000.0],
        },
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = Random(seed as u64);
        let drawn: Vec<(Summary, Spend)> = (0..23_570)
            .map(|_| {
                let age = 27.0 + 50.0 * random.uniform();
                let bought = market.customer(age, &mut random);
                let purchases = bought.len() as u32 - 1;
                let total: f64 = bought[1..].iter().map(|(_, value)| value).sum();
                let mean = if purchases > 0 {
                    total / f64::from(purchases)
                } else {
                    0.0
                };
                let recency = bought[bought.len() - 1].0;
                (summary(purchases, recency, age), Spend { purchases, mean })
            })
            .collect();
        let fit = BgNbd::fit(&summaries(&drawn)).unwrap();
        let [r, alpha, a, b] = market.purchases;
        for (found, drawn) in [(fit.model.r, r), (fit.model.alpha, alpha)] {
            close(found / drawn, 1.0, 0.06);
        }
        for (found, drawn) in [(fit.model.a, a), (fit.model.b, b)] {
            close(found / drawn, 1.0, 0.15);
        }
        let truth = BgNbd::new(r, alpha, a, b).unwrap();
        assert!(fit.log_likelihood >= truth.log_likelihood(&summaries(&drawn)).unwrap());

        let fit = GammaGamma::fit(&spends(&drawn)).unwrap();
        let [p, q, gamma] = market.values;
        for (found, drawn) in [(fit.model.p, p), (fit.model.q, q), (fit.model.gamma, gamma)] {
            close(found / drawn, 1.0, 0.12);
        }
        let truth = GammaGamma::new(p, q, gamma).unwrap();
        close(fit.model.mean_value() / truth.mean_value(), 1.0, 0.04);
        assert!(fit.log_likelihood >= truth.log_likelihood(&spends(&drawn)));
    }
}

#[test]
fn the_fit_does_not_depend_on_the_units_of_time_and_money() {
    let customers = cdnow();
    let in_days: Vec<Summary> = summaries(&customers)
        .iter()
        .map(|s| Summary {
            recency: 7.0 * s.recency,
            age: 7.0 * s.age,
            ..*s
        })
        .collect();
    let (weeks, days) = (
        BgNbd::fit(&summaries(&customers)).unwrap(),
        BgNbd::fit(&in_days).unwrap(),
    );
    close(days.model.alpha / weeks.model.alpha, 7.0, 1e-3);
    close(days.model.b, weeks.model.b, 1e-3);
    let in_cents: Vec<Spend> = spends(&customers)
        .iter()
        .map(|s| Spend {
            mean: 100.0 * s.mean,
            ..*s
        })
        .collect();
    let (dollars, cents) = (
        GammaGamma::fit(&spends(&customers)).unwrap(),
        GammaGamma::fit(&in_cents).unwrap(),
    );
    close(cents.model.gamma / dollars.model.gamma, 100.0, 1e-2);
}

#[test]
fn the_value_is_expected_purchases_times_expected_value_and_less_with_a_discount() {
    let (purchases, values) = (published(), published_values());
    let customer = summary(2, 30.43, 38.86);
    let spend = Spend {
        purchases: 2,
        mean: 22.35,
    };
    let within = |weeks, discount| {
        let horizon = Horizon::new(weeks, discount).unwrap();
        predict(&purchases, Some(&values), &customer, &spend, &horizon).unwrap()
    };
    let value = |weeks, discount| within(weeks, discount).expected_value.unwrap();
    let plain = within(39.0, 0.0);
    close(plain.expected_purchases, 1.226, 0.0005);
    close(
        value(39.0, 0.0),
        plain.expected_purchases * values.expected_value(&spend),
        1e-12,
    );
    let discounted = within(39.0, 0.1);
    assert_eq!(discounted.expected_purchases, plain.expected_purchases);
    // Nothing is discounted by more than the whole horizon, nor by nothing.
    let most = 1.1_f64.powf(-39.0 / WEEKS_PER_YEAR);
    let share = value(39.0, 0.1) / value(39.0, 0.0);
    assert!(most < share && share < 1.0, "{share}");
    // Half a week has an end of its own.
    assert!(value(3.0, 0.1) < value(3.5, 0.1) && value(3.5, 0.1) < value(4.0, 0.1));
    let horizon = Horizon::new(39.0, 0.1).unwrap();
    let without = predict(&purchases, None, &customer, &spend, &horizon).unwrap();
    assert_eq!(
        (without.p_alive, without.expected_value),
        (plain.p_alive, None)
    );
}

#[test]
fn customers_who_gave_everything_back_are_expected_to_spend_less_not_below_zero() {
    let values = published_values();
    let of = |mean| values.expected_value(&Spend { purchases: 3, mean });
    assert!(of(-50.0) > 0.0 && of(-50.0) < of(1.0));
    assert_eq!(of(-50.0), of(0.0));
    assert_eq!(of(f64::NAN), of(0.0));
}

#[test]
fn too_few_customers_or_none_who_bought_again_are_errors_of_their_own() {
    assert_eq!(
        BgNbd::fit(&[]),
        Err(LifetimeError::TooFewCustomers { found: 0 })
    );
    let once = summary(0, 0.0, 10.0);
    let again = summary(1, 2.0, 10.0);
    assert_eq!(
        BgNbd::fit(&[again; 49]),
        Err(LifetimeError::TooFewCustomers { found: 49 })
    );
    assert_eq!(
        BgNbd::fit(&[once; 400]),
        Err(LifetimeError::NoRepeatCustomers)
    );
    let few = [vec![once; 100], vec![again; 19]].concat();
    assert_eq!(
        BgNbd::fit(&few),
        Err(LifetimeError::TooFewRepeatCustomers { found: 19 })
    );
    assert_eq!(GammaGamma::fit(&[]), Err(LifetimeError::NoRepeatCustomers));
    let unusable = [0.0, -1.0, f64::NAN, f64::INFINITY].map(|mean| Spend { purchases: 2, mean });
    let without = [
        unusable.repeat(20),
        vec![
            Spend {
                purchases: 0,
                mean: 5.0
            };
            20
        ],
    ]
    .concat();
    assert_eq!(
        GammaGamma::fit(&without),
        Err(LifetimeError::NoRepeatCustomers)
    );
}

#[test]
fn customers_who_do_not_differ_have_no_most_likely_parameters_and_no_number() {
    let equal = [summary(10, 50.0, 51.0); 200];
    assert!(matches!(
        BgNbd::fit(&equal),
        Err(LifetimeError::RanAway { .. })
    ));
    let spends = [Spend {
        purchases: 10,
        mean: 20.0,
    }; 200];
    assert!(matches!(
        GammaGamma::fit(&spends),
        Err(LifetimeError::RanAway { .. })
    ));
    let at_once = [summary(3, 1e-300, 1e-300); 200];
    assert!(BgNbd::fit(&at_once).is_err());
}

#[test]
fn summaries_and_horizons_that_cannot_be_are_refused() {
    for bad in [
        summary(1, 5.0, 4.0),
        summary(1, 0.0, 4.0),
        summary(0, 1.0, 4.0),
        summary(1, -1.0, 4.0),
        summary(0, 0.0, -1.0),
        summary(0, 0.0, f64::NAN),
        summary(2, f64::NAN, 4.0),
        summary(2, 1.0, f64::INFINITY),
    ] {
        let impossible = |result: Result<f64, LifetimeError>| {
            assert!(
                matches!(result, Err(LifetimeError::Impossible { .. })),
                "{bad:?}"
            );
        };
        impossible(published().p_alive(&bad));
        impossible(published().expected_purchases(&bad, 1.0));
        impossible(published().log_likelihood(&[bad]));
        impossible(BgNbd::fit(&[bad; 100]).map(|fit| fit.log_likelihood));
    }
    let once = summary(0, 0.0, 1.0);
    for horizon in [-1.0, f64::NAN, f64::INFINITY, MAX_HORIZON + 1.0] {
        assert!(published().expected_purchases(&once, horizon).is_err());
        assert!(Horizon::new(horizon, 0.0).is_err());
    }
    for discount in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(Horizon::new(52.0, discount).is_err());
    }
    assert!(BgNbd::new(0.2, 0.0, 1.0, 1.0).is_err());
    assert!(BgNbd::new(0.2, 1.0, f64::NAN, 1.0).is_err());
    assert_eq!(
        GammaGamma::new(6.0, 1.0, 15.0),
        Err(LifetimeError::NoMeanValue { q: 1.0 })
    );
}
