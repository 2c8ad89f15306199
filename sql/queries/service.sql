-- name: service_rows :many
-- out: id:i64 name:str prefix:str base_url:str test_base_url:str header:str sealed:bytes? price_id:i64 call_quota:i64
SELECT s.id, s.name, s.prefix, s.base_url, s.test_base_url, s.header, s.sealed, s.price_id,
       p.call_quota
FROM services s JOIN price_versions p ON p.id = s.price_id ORDER BY s.id;

-- name: service_scope_rows :many
-- out: bit:i64 service_id:i64 name:str read_name:str rules:str
SELECT bit, service_id, name, read_name, rules FROM service_scopes WHERE NOT deleted ORDER BY bit;

-- name: service_by_name :one
-- in: name:str
-- out: id:i64
SELECT id FROM services WHERE name = ? FOR UPDATE;

-- name: service_insert :exec
-- in: name:str prefix:str base_url:str test_base_url:str header:str sealed:bytes? price_id:i64
INSERT INTO services (name, prefix, base_url, test_base_url, header, sealed, price_id)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: service_delete :exec
-- in: id:i64
DELETE FROM services WHERE id = ?;

-- name: service_scopes_delete :exec
-- in: service_id:i64
UPDATE service_scopes SET deleted = TRUE WHERE service_id = ?;

-- name: service_scope_last :one
-- out: bit:i64
SELECT COALESCE(MAX(bit), 14) FROM service_scopes FOR UPDATE;

-- Who has a name or the name of a read-only variant already.
-- name: service_scope_owner :one
-- in: name:str name2:str read_name:str read_name2:str
-- out: service_id:i64 name:str
SELECT service_id, name FROM service_scopes
WHERE (name = ? OR read_name = ? OR name = ? OR read_name = ?) AND NOT deleted
ORDER BY bit LIMIT 1;

-- name: service_scope_update :exec
-- in: rules:str service_id:i64 name:str
UPDATE service_scopes SET rules = ? WHERE service_id = ? AND name = ? AND NOT deleted;

-- name: service_scope_insert :exec
-- in: bit:i64 service_id:i64 name:str read_name:str rules:str
INSERT INTO service_scopes (bit, service_id, name, read_name, rules) VALUES (?, ?, ?, ?, ?);

-- name: service_list :many
-- out: id:i64 name:str prefix:str base_url:str test_base_url:str header:str has_secret:bool call_quota:i64 scopes:str?
SELECT s.id, s.name, s.prefix, s.base_url, s.test_base_url, s.header, s.sealed IS NOT NULL,
       p.call_quota,
       (SELECT JSON_ARRAYAGG(c.name ORDER BY c.bit) FROM service_scopes c
        WHERE c.service_id = s.id AND NOT c.deleted)
FROM services s JOIN price_versions p ON p.id = s.price_id ORDER BY s.id;

-- name: service_secrets_after :many
-- in: after_id:i64
-- out: id:i64 sealed:bytes
SELECT id, sealed FROM services WHERE id > ? AND sealed IS NOT NULL ORDER BY id LIMIT 500;

-- name: service_reseal :exec
-- in: sealed:bytes id:i64
UPDATE services SET sealed = ? WHERE id = ?;
