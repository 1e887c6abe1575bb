-- Instruments and market sessions: rows, not constants in code.

CREATE TABLE instruments (
    symbol    text PRIMARY KEY,
    name      text NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('fx', 'crypto', 'equity')),
    precision smallint NOT NULL CHECK (precision BETWEEN 0 AND 12),  -- decimals of a price
    source    text NOT NULL                                          -- the source that feeds it in production
);

INSERT INTO instruments (symbol, name, kind, precision, source) VALUES
    ('EUR_USD', 'Euro / US Dollar',                     'fx', 5, 'oanda'),
    ('GBP_USD', 'British Pound / US Dollar',            'fx', 5, 'oanda'),
    ('USD_JPY', 'US Dollar / Japanese Yen',             'fx', 3, 'oanda'),
    ('USD_CHF', 'US Dollar / Swiss Franc',              'fx', 5, 'oanda'),
    ('AUD_USD', 'Australian Dollar / US Dollar',        'fx', 5, 'oanda'),
    ('USD_CAD', 'US Dollar / Canadian Dollar',          'fx', 5, 'oanda'),
    ('NZD_USD', 'New Zealand Dollar / US Dollar',       'fx', 5, 'oanda'),
    ('EUR_GBP', 'Euro / British Pound',                 'fx', 5, 'oanda'),
    ('EUR_JPY', 'Euro / Japanese Yen',                  'fx', 3, 'oanda'),
    ('EUR_CHF', 'Euro / Swiss Franc',                   'fx', 5, 'oanda'),
    ('EUR_AUD', 'Euro / Australian Dollar',             'fx', 5, 'oanda'),
    ('EUR_CAD', 'Euro / Canadian Dollar',               'fx', 5, 'oanda'),
    ('GBP_JPY', 'British Pound / Japanese Yen',         'fx', 3, 'oanda'),
    ('GBP_CHF', 'British Pound / Swiss Franc',          'fx', 5, 'oanda'),
    ('GBP_AUD', 'British Pound / Australian Dollar',    'fx', 5, 'oanda'),
    ('AUD_JPY', 'Australian Dollar / Japanese Yen',     'fx', 3, 'oanda'),
    ('AUD_NZD', 'Australian Dollar / New Zealand Dollar', 'fx', 5, 'oanda'),
    ('CAD_JPY', 'Canadian Dollar / Japanese Yen',       'fx', 3, 'oanda'),
    ('CHF_JPY', 'Swiss Franc / Japanese Yen',           'fx', 3, 'oanda'),
    ('NZD_JPY', 'New Zealand Dollar / Japanese Yen',    'fx', 3, 'oanda'),
    ('BTCUSDT', 'Bitcoin / Tether',                     'crypto', 2, 'binance'),
    ('ETHUSDT', 'Ether / Tether',                       'crypto', 2, 'binance'),
    ('SOLUSDT', 'Solana / Tether',                      'crypto', 2, 'binance'),
    ('BNBUSDT', 'BNB / Tether',                         'crypto', 2, 'binance'),
    ('ADAUSDT', 'Cardano / Tether',                     'crypto', 4, 'binance'),
    ('XRPUSDT', 'XRP / Tether',                         'crypto', 4, 'binance'),
    ('AAPL',    'Apple',                                'equity', 2, 'synthetic'),
    ('GOOGL',   'Alphabet',                             'equity', 2, 'synthetic'),
    ('MSFT',    'Microsoft',                            'equity', 2, 'synthetic'),
    ('TSLA',    'Tesla',                                'equity', 2, 'synthetic'),
    ('AMZN',    'Amazon',                               'equity', 2, 'synthetic');

-- Times are the wall clock of `zone`; daylight saving follows from the zone's name. Weekdays are ISO: 1 Monday … 7 Sunday.
CREATE TABLE market_sessions (
    name     text PRIMARY KEY,
    zone     text NOT NULL,
    opens    time NOT NULL,
    closes   time NOT NULL,
    weekdays smallint[] NOT NULL
);

INSERT INTO market_sessions (name, zone, opens, closes, weekdays) VALUES
    ('Sydney',   'Australia/Sydney',  '07:00', '16:00', '{1,2,3,4,5}'),
    ('Tokyo',    'Asia/Tokyo',        '09:00', '18:00', '{1,2,3,4,5}'),
    ('London',   'Europe/London',     '08:00', '17:00', '{1,2,3,4,5}'),
    ('New York', 'America/New_York',  '08:00', '17:00', '{1,2,3,4,5}');
