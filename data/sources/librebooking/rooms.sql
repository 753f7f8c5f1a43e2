-- LibreBooking: a room is a resource.
SELECT resource_id AS room_key, name AS room_name, schedule_id AS site_key
FROM resources
ORDER BY schedule_id, resource_id
