-- Services: HTTP upstreams of the operator's own behind API keys, with the scopes they define.

CREATE TABLE IF NOT EXISTS services (
  id            BIGINT NOT NULL AUTO_INCREMENT,
  name          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  prefix        VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- of the paths it serves
  base_url      VARCHAR(512) NOT NULL,
  test_base_url VARCHAR(512) NOT NULL DEFAULT '',  -- where calls with test keys go; '' = refused
  header        VARCHAR(64) NOT NULL DEFAULT 'Authorization',
  sealed        VARBINARY(4200) NULL,              -- the header's value, sealed for "service_key"
  price_id      BIGINT NOT NULL,                   -- per call
  PRIMARY KEY (id),
  UNIQUE KEY by_name (name),
  UNIQUE KEY by_prefix (prefix),
  CONSTRAINT services_price FOREIGN KEY (price_id) REFERENCES price_versions (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- A named set of "METHOD /path" patterns. `bit` (even) of a key's scopes is the whole set, bit + 1
-- its read-only variant, called read_name. A bit is never given to another scope.
CREATE TABLE IF NOT EXISTS service_scopes (
  bit         INT NOT NULL,
  service_id  BIGINT NOT NULL,
  name        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  read_name   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  rules       TEXT NOT NULL,                       -- a line each, paths behind the prefix
  deleted     BOOLEAN NOT NULL DEFAULT FALSE,
  PRIMARY KEY (bit),
  KEY by_service (service_id, name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
