"""Makes the named S3 buckets that are not there yet; endpoint and keys are those of AWS's own variables."""

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main(names: list[str]) -> int:
    store = boto3.client("s3")
    try:
        there = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
        for name in names:
            if name not in there:
                store.create_bucket(Bucket=name)
            print(f"{name}: {'there' if name in there else 'made'}")
    except (BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
