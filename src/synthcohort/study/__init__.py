"""Reader studies: cohorts to readers' answers to study.json, and the same pages as a quiz for trainees."""
