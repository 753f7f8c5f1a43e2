-- MRBS: rooms, with the area they belong to.
SELECT id AS room_key, room_name AS room_name, area_id AS site_key
FROM mrbs_room
ORDER BY area_id, id
