#!/bin/sh
# Make the passwords of compose.yaml, once: in docker/secrets, or in the folder that is given. Existing ones are kept.
set -eu

folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder" ]; then
  echo "kept $folder"
  exit 0
fi

random() {
  od -A n -N 24 -t x1 /dev/urandom | tr -d ' \n'
}

# The folder keeps others out. Its files are readable, because containers read them under numbers of their own.
umask 077
made=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$made"' EXIT
password=$(random)
key=$(random)
printf '%s' "$password" > "$made/postgres_password"
random > "$made/ray_token"
cat > "$made/abel.env" <<END
ABEL_LEDGER=postgresql://abel:$password@postgres/abel
AWS_ACCESS_KEY_ID=abel
AWS_SECRET_ACCESS_KEY=$key
END
cat > "$made/mlflow.env" <<END
MLFLOW_BACKEND_STORE_URI=postgresql://abel:$password@postgres/mlflow
END
cat > "$made/store.env" <<END
MINIO_ROOT_USER=abel
MINIO_ROOT_PASSWORD=$key
MC_HOST_store=http://abel:$key@store:9000
END
chmod 0444 "$made/postgres_password" "$made/ray_token"
mv "$made" "$folder"
trap - EXIT
echo "made $folder"
