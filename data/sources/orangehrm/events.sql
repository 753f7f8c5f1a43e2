-- OrangeHRM: one row an interview. Wall-clock times, no zone and no end. Policies: README.md beside this file.
SELECT
    i.id AS source_event_id,
    i.interview_name AS name,
    REPLACE(REPLACE('<date> <time>',
        '<date>', CAST(i.interview_date AS CHAR)),
        '<time>', SUBSTR(CAST(i.interview_time AS CHAR), 1, 8)) AS starts_at,
    host.location_id AS site_key,
    CASE
        WHEN a.id IS NULL THEN 'pending'
        WHEN UPPER(TRIM(a.status)) = 'REJECTED' THEN 'cancelled'
        WHEN UPPER(TRIM(a.status)) IN (
            'APPLICATION INITIATED', 'SHORTLISTED', 'INTERVIEW SCHEDULED', 'INTERVIEW PASSED', 'INTERVIEW FAILED', 'JOB OFFERED',
            'OFFER DECLINED', 'HIRED'
        ) THEN 'confirmed'
        ELSE 'unknown'
    END AS status,
    e.emp_work_email AS host_email,
    e.emp_firstname AS host_first_name,
    e.emp_lastname AS host_last_name,
    COALESCE(NULLIF(TRIM(e.emp_work_telephone), ''), NULLIF(TRIM(e.emp_mobile), '')) AS host_phone,
    CASE WHEN e.emp_number IS NULL THEN NULL ELSE 1 - host.has_left END AS host_active,
    CASE
        WHEN i.interview_date IS NULL THEN 'the interview has no date yet'
        WHEN i.interview_time IS NULL THEN 'the interview has no time yet'
    END AS problem
FROM ohrm_job_interview i
LEFT JOIN ohrm_job_candidate_vacancy a ON a.id = i.candidate_vacancy_id
LEFT JOIN (
    SELECT
        p.interview_id, p.emp_number, p.location_id, p.has_left,
        ROW_NUMBER() OVER (
            PARTITION BY p.interview_id
            ORDER BY CASE WHEN p.has_left = 0 AND p.has_address = 1 AND p.location_id IS NOT NULL THEN 0 ELSE 1 END, p.emp_number
        ) AS nth
    FROM (
        SELECT
            n.interview_id, n.interviewer_id AS emp_number, home.location_id,
            CASE
                WHEN w.emp_number IS NULL OR w.purged_at IS NOT NULL THEN 1
                WHEN w.termination_id IS NOT NULL AND (t.termination_date IS NULL OR t.termination_date <= k.interview_date) THEN 1
                WHEN w.termination_id IS NOT NULL AND k.interview_date IS NULL THEN 1
                ELSE 0
            END AS has_left,
            CASE WHEN INSTR(w.emp_work_email, '@') > 0 THEN 1 ELSE 0 END AS has_address
        FROM ohrm_job_interview_interviewer n
        JOIN ohrm_job_interview k ON k.id = n.interview_id
        LEFT JOIN hs_hr_employee w ON w.emp_number = n.interviewer_id
        LEFT JOIN ohrm_emp_termination t ON t.id = w.termination_id
        LEFT JOIN (
            SELECT emp_number, MIN(location_id) AS location_id
            FROM hs_hr_emp_locations
            GROUP BY emp_number
        ) home ON home.emp_number = n.interviewer_id
    ) p
) host ON host.interview_id = i.id AND host.nth = 1
LEFT JOIN hs_hr_employee e ON e.emp_number = host.emp_number
