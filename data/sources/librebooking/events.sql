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
    CASE s.status_id WHEN 2 THEN 'cancelled' WHEN 3 THEN 'pending' ELSE 'confirmed' END AS status,
    u.email AS host_email,
    u.fname AS host_first_name,
    u.lname AS host_last_name,
    u.phone AS host_phone,
    CASE WHEN u.status_id = 3 THEN 0 WHEN u.status_id IS NOT NULL THEN 1 END AS host_active,
    COALESCE(s.last_modified, s.date_created) AS updated_at,
    CASE WHEN link.value IS NOT NULL AND occurrences.n = 1 THEN :link_source END AS linked_source,
    CASE WHEN link.value IS NOT NULL AND occurrences.n = 1 THEN link.value END AS linked_event_id
FROM reservation_instances i
LEFT JOIN reservation_series s ON s.series_id = i.series_id
LEFT JOIN (
    SELECT series_id, MIN(resource_id) AS resource_id
    FROM reservation_resources
    WHERE resource_level_id = 1
    GROUP BY series_id
) main_room ON main_room.series_id = i.series_id
LEFT JOIN resources r ON r.resource_id = main_room.resource_id
LEFT JOIN schedules d ON d.schedule_id = r.schedule_id
LEFT JOIN layouts l ON l.layout_id = d.layout_id
LEFT JOIN users u ON u.user_id = s.owner_id
LEFT JOIN (
    SELECT entity_id, MIN(NULLIF(TRIM(attribute_value), '')) AS value
    FROM custom_attribute_values
    WHERE attribute_category = 1 AND custom_attribute_id = :link_attribute
    GROUP BY entity_id
) link ON link.entity_id = i.series_id
LEFT JOIN (
    SELECT series_id, COUNT(*) AS n
    FROM reservation_instances
    GROUP BY series_id
) occurrences ON occurrences.series_id = i.series_id
