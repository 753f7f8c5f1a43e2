-- LibreBooking: one row an occurrence. Times are UTC. Policies: README.md beside this file.
SELECT
    i.reference_number AS source_event_id,
    s.title AS name,
    i.start_date AS starts_at,
    i.end_date AS ends_at,
    l.timezone AS timezone,
    r.resource_id AS room_key,
    r.name AS room_name,
    r.schedule_id AS site_key,
    CASE s.status_id WHEN 1 THEN 'confirmed' WHEN 2 THEN 'cancelled' WHEN 3 THEN 'pending' ELSE 'unknown' END AS status,
    u.email AS host_email,
    u.fname AS host_first_name,
    u.lname AS host_last_name,
    u.phone AS host_phone,
    CASE WHEN u.status_id = 3 THEN 0 WHEN u.status_id IS NOT NULL THEN 1 END AS host_active,
    COALESCE(s.last_modified, s.date_created) AS updated_at,
    CASE WHEN named.occurrences = 1 THEN :link_source END AS linked_source,
    CASE WHEN named.occurrences = 1 THEN TRIM(link.attribute_value) END AS linked_event_id,
    CASE
        WHEN u.fname = 'Guest' AND u.lname = 'Guest'
            THEN 'booked by a guest without an account of the company: nobody there is its host, give it an owner in LibreBooking'
    END AS problem
FROM reservation_instances i
LEFT JOIN reservation_series s ON s.series_id = i.series_id
LEFT JOIN reservation_resources main_room ON main_room.series_id = i.series_id AND main_room.resource_level_id = 1
LEFT JOIN reservation_resources lower_room
    ON lower_room.series_id = i.series_id AND lower_room.resource_level_id = 1 AND lower_room.resource_id < main_room.resource_id
LEFT JOIN resources r ON r.resource_id = main_room.resource_id
LEFT JOIN schedules d ON d.schedule_id = r.schedule_id
LEFT JOIN layouts l ON l.layout_id = d.layout_id
LEFT JOIN users u ON u.user_id = s.owner_id
LEFT JOIN (
    SELECT
        v.entity_id,
        MIN(v.custom_attribute_value_id) AS id,
        (SELECT COUNT(*) FROM reservation_instances o WHERE o.series_id = v.entity_id) AS occurrences
    FROM custom_attribute_values v
    WHERE v.attribute_category = 1 AND v.custom_attribute_id = :link_attribute AND TRIM(v.attribute_value) <> ''
    GROUP BY v.entity_id
) named ON named.entity_id = i.series_id
LEFT JOIN custom_attribute_values link ON link.custom_attribute_value_id = named.id
WHERE lower_room.series_id IS NULL
