-- One database and one role each for Prefect and MLflow; the passwords come from the environment of psql.
-- For a fresh server, with ON_ERROR_STOP: a password that is missing is an error, and so is a second run.
-- A statement that fails is written to the server's log, with the password in it.
SET log_min_error_statement = panic;
\getenv prefect_password PREFECT_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
SELECT 1 / (length(:'prefect_password') > 0 AND length(:'mlflow_password') > 0)::int AS both_are_set \gset

CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE prefect, mlflow FROM PUBLIC;
