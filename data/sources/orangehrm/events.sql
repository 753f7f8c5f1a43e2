-- OrangeHRM: one row an interview. Wall-clock times, no zone and no end. Policies: README.md beside this file.
SELECT
    i.id AS source_event_id,
    i.interview_name AS name,
    REPLACE(REPLACE('<date> <time>',
        '<date>', CAST(i.interview_date AS CHAR)),
        '<time>', SUBSTR(CAST(i.interview_time AS CHAR), 1, 8)) AS starts_at,
    home.location_id AS site_key,
    CASE
        WHEN UPPER(TRIM(a.status)) = 'REJECTED' THEN 'cancelled'
        WHEN a.id IS NULL THEN 'pending'
        ELSE 'confirmed'
    END AS status,
    e.emp_work_email AS host_email,
    e.emp_firstname AS host_first_name,
    e.emp_lastname AS host_last_name,
    COALESCE(NULLIF(TRIM(e.emp_work_telephone), ''), NULLIF(TRIM(e.emp_mobile), '')) AS host_phone,
    CASE
        WHEN e.emp_number IS NULL THEN NULL
        WHEN e.termination_id IS NOT NULL OR e.purged_at IS NOT NULL THEN 0
        ELSE 1
    END AS host_active,
    CASE
        WHEN i.interview_date IS NULL THEN 'the interview has no date yet'
        WHEN i.interview_time IS NULL THEN 'the interview has no time yet'
    END AS problem
FROM ohrm_job_interview i
LEFT JOIN ohrm_job_candidate_vacancy a ON a.id = i.candidate_vacancy_id
LEFT JOIN (
    SELECT interview_id, MIN(interviewer_id) AS emp_number
    FROM ohrm_job_interview_interviewer
    GROUP BY interview_id
) host ON host.interview_id = i.id
LEFT JOIN hs_hr_employee e ON e.emp_number = host.emp_number
LEFT JOIN (
    SELECT emp_number, MIN(location_id) AS location_id
    FROM hs_hr_emp_locations
    GROUP BY emp_number
) home ON home.emp_number = host.emp_number
