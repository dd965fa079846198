#!/bin/sh
# Record what Spring's encryptors produce into ../vectors.json. Needs Maven and Java 17; run it by hand.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cp -R "$here/pom.xml" "$here/src" "$out"
cd "$out"
mvn -q -B compile dependency:build-classpath -Dmdep.outputFile=classpath
java -Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8 -cp "target/classes:$(cat classpath)" Record > vectors.json
cp vectors.json "$here/../vectors.json"
