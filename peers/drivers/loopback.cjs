// Loaded with `node --require` before server-everything, which listens on every interface and cannot be told otherwise.

const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  if (typeof port === "object" || typeof rest[0] === "string") return listen.call(this, port, ...rest);
  return listen.call(this, port, "127.0.0.1", ...rest);
};
