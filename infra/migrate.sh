#!/usr/bin/env bash
# Brings the tables of a deployed stack up to date, by the operator's Lambda and a given image:
#   infra/migrate.sh STACK IMAGE_URI
# A deployment runs it before the new API answers, and again after it, for the first time that there is an image.
set -euo pipefail
stack=$1 image=$2

function_name=$(aws cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Outputs[?OutputKey=='OperatorFunctionName'].OutputValue" --output text)
if [ -z "$function_name" ] || [ "$function_name" = None ]; then
    echo "Stack $stack has no operator's function yet: nothing to migrate with."
    exit 0
fi

aws lambda update-function-code --function-name "$function_name" --image-uri "$image" >/dev/null
aws lambda wait function-updated-v2 --function-name "$function_name"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
aws lambda invoke --function-name "$function_name" --cli-binary-format raw-in-base64-out --cli-read-timeout 900 \
    --payload '{"arguments": ["migrate"]}' "$answer" >/dev/null
cat "$answer"
echo
grep -q '"status": 0' "$answer"
