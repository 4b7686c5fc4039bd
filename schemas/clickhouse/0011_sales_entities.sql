-- The activities.
CREATE TABLE activities
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    kind        LowCardinality(String),
    owner_id    LowCardinality(String),
    deal_id     String,
    account_id  String,
    contact_id  String,
    lead_id     String,
    done_at     Nullable(DateTime64(6, 'UTC')),
    due_at      Nullable(DateTime64(6, 'UTC')),
    done        Nullable(UInt8),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The payments, as their sources asserted them: a refund's amount may be positive, its kind gives the direction.
CREATE TABLE payments
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    account_id  String,
    deal_id     String,
    invoice_id  String,
    kind        LowCardinality(String),
    amount      Nullable(Decimal(18, 4)),
    currency    LowCardinality(String),
    paid_at     Nullable(DateTime64(6, 'UTC')),
    margin      Nullable(Decimal(18, 4)),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The invoices.
CREATE TABLE invoices
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    account_id  String,
    deal_id     String,
    owner_id    LowCardinality(String),
    number      String,
    amount      Nullable(Decimal(18, 4)),
    currency    LowCardinality(String),
    issued_at   Nullable(DateTime64(6, 'UTC')),
    due_at      Nullable(DateTime64(6, 'UTC')),
    paid_at     Nullable(DateTime64(6, 'UTC')),
    status      LowCardinality(String),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The quotas.
CREATE TABLE quotas
(
    generation   UInt32,
    shard        UInt32,
    id           String,
    deleted      UInt8,
    merged_into  String,
    owner_id     LowCardinality(String),
    period_start Nullable(DateTime64(6, 'UTC')),
    period_end   Nullable(DateTime64(6, 'UTC')),
    target       Nullable(Decimal(18, 4)),
    currency     LowCardinality(String),
    team         LowCardinality(String),
    custom       Map(String, String),
    state        String CODEC(ZSTD(1)),
    version      UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The users. `team` and `manager_id` are those of today; which they had before is in `state`.
CREATE TABLE users
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    name        String,
    team        LowCardinality(String),
    manager_id  String,
    active      Nullable(UInt8),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The teams.
CREATE TABLE teams
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    name        String,
    parent      String,
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The exchange rates: one unit of `base` is `rate` units of `currency` from `day` on.
CREATE TABLE rates
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    base        LowCardinality(String),
    currency    LowCardinality(String),
    rate        Nullable(Decimal(38, 12)),
    day         Nullable(DateTime64(6, 'UTC')),
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);
