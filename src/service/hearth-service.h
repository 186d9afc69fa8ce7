/* The engine process of the app: `hearth-engine --service FD`. */
#pragma once

/* Serves dev.hearth.Engine on the private D-Bus connection at the other end of the socket fd, until that end closes or
 * the parent process dies. Returns an exit code only when it could not begin; else the process ends inside. */
int hearth_service_run(int fd);
