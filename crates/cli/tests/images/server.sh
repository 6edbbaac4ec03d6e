while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
  case $line in
    *'"initialize"'*)
      answer '"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"made","version":"1"}}' ;;
    *'"tools/list"'*) answer '"result":{"tools":[{"name":"greet","description":"DESCRIPTION","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) answer '"result":{"content":[{"type":"text","text":"DESCRIPTION '"$GREETING $PWD $*"'"}]}' ;;
    *'"id"'*) answer '"error":{"code":-32601,"message":"no"}' ;;
  esac
done
