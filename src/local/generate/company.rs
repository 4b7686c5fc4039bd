//! The company that sells and those that buy from it: where, what and through which channel.

/// A channel leads come through. Shares and rates are in thousandths.
pub(super) struct Source {
    /// As the CRM writes it; `None` is an empty field.
    pub(super) name: Option<&'static str>,
    pub(super) share: u32,
    /// How many of its leads become deals.
    pub(super) converts: u32,
    /// How many of its deals are won.
    pub(super) wins: u32,
}

const fn source(name: Option<&'static str>, share: u32, converts: u32, wins: u32) -> Source {
    Source {
        name,
        share,
        converts,
        wins,
    }
}

pub(super) const SOURCES: [Source; 9] = [
    source(Some("website"), 240, 150, 240),
    source(Some("referral"), 90, 300, 380),
    source(Some("event"), 110, 120, 200),
    source(Some("partner"), 90, 250, 320),
    source(Some("outbound"), 180, 80, 150),
    source(Some("ads"), 150, 60, 120),
    source(Some("webinar"), 70, 110, 180),
    source(Some("unknown"), 30, 90, 180),
    source(None, 40, 110, 200),
];

/// An amount's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Currency {
    /// Euro.
    Eur,
    /// United States dollar.
    Usd,
    /// Pound sterling.
    Gbp,
    /// Japanese yen, which has no smaller unit.
    Jpy,
}

impl Currency {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Usd => "USD",
            Self::Gbp => "GBP",
            Self::Jpy => "JPY",
        }
    }

    /// What one euro usually costs, in ten-thousandths.
    pub(super) fn per_euro(self) -> i64 {
        match self {
            Self::Eur => 10_000,
            Self::Usd => 10_800,
            Self::Gbp => 8_600,
            Self::Jpy => 1_600_000,
        }
    }

    /// A price in euro cents as an amount in this currency's smallest unit, at a rate that never
    /// moves: price lists don't follow the market.
    pub(super) fn convert(self, euro_cents: i64) -> i64 {
        let hundredths = euro_cents * self.per_euro() / 10_000;
        match self {
            Self::Jpy => hundredths / 100,
            Self::Eur | Self::Usd | Self::Gbp => hundredths,
        }
    }

    /// What an amount in this currency's smallest unit usually is in euro cents.
    pub(super) fn to_euro_cents(self, amount: i64) -> i64 {
        let hundredths = match self {
            Self::Jpy => amount * 100,
            Self::Eur | Self::Usd | Self::Gbp => amount,
        };
        hundredths * 10_000 / self.per_euro()
    }
}

pub(super) struct Region {
    pub(super) name: &'static str,
    pub(super) share: u32,
    pub(super) currency: Currency,
    /// Hours east of UTC, summer time left aside.
    pub(super) offset: i64,
    legal_forms: [&'static str; 3],
    pub(super) teams: [&'static str; 2],
}

pub(super) const REGIONS: [Region; 5] = [
    Region {
        name: "DACH",
        share: 300,
        currency: Currency::Eur,
        offset: 1,
        legal_forms: ["GmbH", "AG", "SE"],
        teams: ["dach-midmarket", "dach-enterprise"],
    },
    Region {
        name: "Nordics",
        share: 120,
        currency: Currency::Eur,
        offset: 1,
        legal_forms: ["AB", "ApS", "Oy"],
        teams: ["nordics-inside", "nordics-field"],
    },
    Region {
        name: "UK & Ireland",
        share: 180,
        currency: Currency::Gbp,
        offset: 0,
        legal_forms: ["Ltd", "plc", "Group"],
        teams: ["uki-inside", "uki-field"],
    },
    Region {
        name: "North America",
        share: 320,
        currency: Currency::Usd,
        offset: -5,
        legal_forms: ["Inc.", "LLC", "Corp."],
        teams: ["na-commercial", "na-enterprise"],
    },
    Region {
        name: "Japan",
        share: 80,
        currency: Currency::Jpy,
        offset: 9,
        legal_forms: ["K.K.", "G.K.", "Holdings"],
        teams: ["japan-direct", "japan-partners"],
    },
];

/// What is sold.
pub(super) struct Product {
    pub(super) name: &'static str,
    /// The list price of one unit in euro cents: of a year, if it is subscribed to.
    pub(super) price: i64,
    /// It is paid by the month for as long as the customer stays; the others are invoiced once.
    pub(super) is_subscription: bool,
}

const fn product(name: &'static str, price: i64, is_subscription: bool) -> Product {
    Product {
        name,
        price,
        is_subscription,
    }
}

pub(super) const PRODUCTS: [Product; 8] = [
    product("Core", 49_900, true),
    product("Core Plus", 89_900, true),
    product("Analytics", 129_000, false),
    product("Automation", 159_000, false),
    product("Connect", 39_500, false),
    product("Mobile", 24_900, true),
    product("Security", 99_000, false),
    product("Premium Support", 59_000, true),
];

/// A size of customer: its share, the units it buys and the days a first deal with it typically
/// takes.
pub(super) struct Segment {
    pub(super) name: &'static str,
    pub(super) share: u32,
    pub(super) units: (i64, i64),
    pub(super) typical_days: i64,
    pub(super) employees: (i64, i64),
}

pub(super) const SEGMENTS: [Segment; 3] = [
    Segment {
        name: "smb",
        share: 600,
        units: (1, 8),
        typical_days: 18,
        employees: (5, 99),
    },
    Segment {
        name: "mid-market",
        share: 300,
        units: (5, 40),
        typical_days: 40,
        employees: (100, 999),
    },
    Segment {
        name: "enterprise",
        share: 100,
        units: (30, 250),
        typical_days: 85,
        employees: (1000, 60_000),
    },
];

pub(super) const INDUSTRIES: [&str; 8] = [
    "logistics",
    "manufacturing",
    "retail",
    "software",
    "healthcare",
    "energy",
    "media",
    "finance",
];
pub(super) const CAMPAIGNS: [&str; 6] = [
    "spring-launch",
    "summer-webinars",
    "autumn-roadshow",
    "year-end",
    "always-on",
    "partner-days",
];
pub(super) const COMPETITORS: [&str; 4] = ["Northbeam", "Quillon", "Tessera", "in-house"];
pub(super) const LOST_REASONS: [&str; 6] = [
    "price",
    "competitor",
    "no decision",
    "timing",
    "missing feature",
    "no budget",
];

const FIRST: [&str; 40] = [
    "Alder", "Amber", "Aster", "Baltic", "Beacon", "Birch", "Bright", "Cedar", "Cobalt", "Copper",
    "Crescent", "Delta", "Dover", "Elm", "Falcon", "Fjord", "Granite", "Harbor", "Hazel", "Helios",
    "Iris", "Juniper", "Kestrel", "Lantern", "Linden", "Lumen", "Marlow", "Meridian", "Nordwind",
    "Orchard", "Pioneer", "Quarry", "Raven", "Sable", "Sierra", "Solstice", "Summit", "Tidal",
    "Vantage", "Willow",
];
const SECOND: [&str; 33] = [
    "Logistics",
    "Foods",
    "Systems",
    "Robotics",
    "Textiles",
    "Pharma",
    "Energy",
    "Media",
    "Analytics",
    "Motors",
    "Freight",
    "Instruments",
    "Labs",
    "Packaging",
    "Health",
    "Software",
    "Optics",
    "Marine",
    "Materials",
    "Travel",
    "Insurance",
    "Retail",
    "Printing",
    "Networks",
    "Tools",
    "Chemicals",
    "Aviation",
    "Timber",
    "Furniture",
    "Learning",
    "Studios",
    "Security",
    "Dairy",
];
const CITIES: [&str; 16] = [
    "Hamburg", "Oslo", "Leeds", "Denver", "Osaka", "Graz", "Malmo", "Cork", "Austin", "Nagoya",
    "Basel", "Aarhus", "Bristol", "Boston", "Kyoto", "Leipzig",
];

/// A company's name, another one for every number: twenty thousand before the names have to be
/// numbered.
pub(super) fn company_name(number: u32, region: u8) -> String {
    let number = number as usize;
    let plain_names = FIRST.len() * SECOND.len();
    // A step that shares no factor with the count visits every name once, in no visible order.
    let shuffled = number % plain_names * 797 % plain_names;
    let (first, second) = (
        FIRST[shuffled % FIRST.len()],
        SECOND[shuffled / FIRST.len()],
    );
    let forms = &REGIONS[usize::from(region)].legal_forms;
    let form = forms[number % forms.len()];
    let round = number / plain_names;
    let city = if round == 0 {
        ""
    } else {
        CITIES[(round - 1) % CITIES.len()]
    };
    let again = round.saturating_sub(1) / CITIES.len();
    match (round, again) {
        (0, _) => format!("{first} {second} {form}"),
        (_, 0) => format!("{first} {second} {city} {form}"),
        _ => format!("{first} {second} {city} {} {form}", again + 1),
    }
}
