/* send_many(fds, data): one buffer to many sockets. The hub works without this module. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STORED 512 /* short results between two times with the GIL */

static PyObject *send_many(PyObject *module, PyObject *args) {
    Py_buffer fds, data;
    if (!PyArg_ParseTuple(args, "y*y*:send_many", &fds, &data))
        return NULL;
    PyObject *result = Py_NewRef(Py_None);
    Py_ssize_t count = fds.len / (Py_ssize_t)sizeof(int), at = 0;
    Py_ssize_t index[STORED], taken[STORED];
    if (fds.len % (Py_ssize_t)sizeof(int)) {
        PyErr_SetString(PyExc_ValueError, "fds is no sequence of C int");
        Py_CLEAR(result);
    }
    while (result && at < count) {
        int found = 0;
        Py_BEGIN_ALLOW_THREADS
        for (; at < count && found < STORED; at++) {
            int fd;
            Py_ssize_t sent;
            memcpy(&fd, (char *)fds.buf + at * sizeof(int), sizeof(int)); /* the buffer may be unaligned */
            do /* without libc: in a process with threads, its send() is a cancellation point, for 20 ns */
                sent = syscall(SYS_sendto, fd, data.buf, data.len, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
            while (sent < 0 && errno == EINTR);
            if (sent != data.len) {
                index[found] = at;
                taken[found++] = sent < 0 ? -errno : sent;
            }
        }
        Py_END_ALLOW_THREADS
        if (found && result == Py_None)
            Py_SETREF(result, PyList_New(0));
        for (int each = 0; result && each < found; each++) {
            PyObject *pair = Py_BuildValue("(nn)", index[each], taken[each]);
            if (!pair || PyList_Append(result, pair) < 0)
                Py_CLEAR(result);
            Py_XDECREF(pair);
        }
    }
    PyBuffer_Release(&fds);
    PyBuffer_Release(&data);
    return result;
}

static PyMethodDef methods[] = {{"send_many", send_many, METH_VARARGS, "Send data to each descriptor; return the short results or None."}, {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "tickwire_sendmany", NULL, -1, methods};

PyMODINIT_FUNC PyInit_tickwire_sendmany(void) { return PyModule_Create(&definition); }
