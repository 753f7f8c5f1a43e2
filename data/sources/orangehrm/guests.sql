-- OrangeHRM: the candidate is the guest. The other interviewers are employees and no guests.
SELECT
    i.id AS source_event_id,
    i.candidate_id AS guest_id,
    c.email AS email,
    c.first_name AS first_name,
    c.last_name AS last_name
FROM ohrm_job_interview i
LEFT JOIN ohrm_job_candidate c ON c.id = i.candidate_id
WHERE i.candidate_id IS NOT NULL
