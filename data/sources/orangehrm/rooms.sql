-- OrangeHRM knows no rooms: no rows, so that every preset has the same files.
SELECT id AS room_key, name AS room_name, id AS site_key
FROM ohrm_location
WHERE 1 = 0
