-- Statements of door_check.c, on a table of its own.

-- name: item_add :exec
-- in: id:i64 name:str? body:bytes? n:i64? flag:bool
INSERT INTO items (id, name, body, n, flag) VALUES (?, ?, ?, ?, ?);

-- name: item_get :one
-- in: id:i64
-- out: id:i64 name:str? body:bytes? n:i64? flag:bool
SELECT id, name, body, n, flag FROM items WHERE id = ?;

-- name: item_name :one
-- in: id:i64
-- out: name:str
SELECT name FROM items WHERE id = ?;

-- name: item_list :many
-- in: least:i64
-- out: id:i64 body:bytes?
SELECT id, body FROM items WHERE id >= ? ORDER BY id;

-- name: item_bump :exec
-- in: by:i64 id:i64
UPDATE items SET n = n + ? WHERE id = ?;

-- name: item_bulk :bulk
-- in: id:i64 name:str? body:bytes? n:i64? flag:bool
INSERT INTO items (id, name, body, n, flag) VALUES (?, ?, ?, ?, ?);

-- name: item_sum :one
-- in: least:i64
-- out: rows:i64 total:i64 names:i64 bodies:i64
SELECT COUNT(*), CAST(COALESCE(SUM(n), 0) AS SIGNED), COUNT(name),
       CAST(COALESCE(SUM(LENGTH(body)), 0) AS SIGNED)
FROM items WHERE id >= ?;

-- name: huge :one
-- out: n:i64
SELECT CAST(18446744073709551615 AS UNSIGNED);

-- name: quoted :one
-- out: text:str
SELECT 'a  b; -- ?';

-- name: session_id :one
-- out: id:i64
SELECT CONNECTION_ID();

-- name: session_settings :one
-- out: zone:str charset:str isolation:str strict:bool
SELECT @@session.time_zone, @@session.character_set_client, @@session.tx_isolation,
       @@session.sql_mode LIKE '%STRICT_ALL_TABLES%';
