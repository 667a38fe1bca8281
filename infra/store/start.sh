#!/bin/sh
# SeaweedFS in one process. Only its S3 gateway can be reached from outside; the rest has no passwords, so it stays inside.
# Two keys: MLflow's makes the buckets and may everything, DVC's may use its own bucket. More arguments go to `weed server`.
set -eu
umask 077
keys=$(mktemp)
cat >"$keys" <<END
{"identities": [
  {"name": "mlflow", "actions": ["Admin"],
   "credentials": [{"accessKey": "${MLFLOW_S3_KEY:?}", "secretKey": "${MLFLOW_S3_SECRET:?}"}]},
  {"name": "dvc", "actions": ["Read:mirl-dvc", "List:mirl-dvc", "Write:mirl-dvc", "Tagging:mirl-dvc"],
   "credentials": [{"accessKey": "${DVC_S3_KEY:?}", "secretKey": "${DVC_S3_SECRET:?}"}]}
]}
END
exec weed -logtostderr=true server -dir="${STORE_FOLDER:-/data}" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.telemetry=false -master.volumeSizeLimitMB=1024 -volume.max=0 \
  -s3 -s3.ip.bind=0.0.0.0 -s3.config="$keys" -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0 "$@"
