-- OrangeHRM: a site is a location (Admin, Organization, Locations).
SELECT id AS site_key, name AS site_name
FROM ohrm_location
ORDER BY id
