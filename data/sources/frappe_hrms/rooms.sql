-- Frappe HRMS knows no rooms of interviews: no rows, so that every preset has the same files.
SELECT name AS room_key, branch AS room_name, name AS site_key
FROM `tabBranch`
WHERE 1 = 0
