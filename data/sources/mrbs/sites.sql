-- MRBS: a site is an area.
SELECT id AS site_key, area_name AS site_name, timezone AS timezone
FROM mrbs_area
ORDER BY id
