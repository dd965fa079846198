/* System calls on many sockets without the interpreter lock: the optional fast path of vortexd/realtime/sockets.py.
 *
 * Each function takes the descriptors of non-blocking sockets: a list of numbers or an array of C's int. It returns what
 * isn't the common case, by index, so that the common case makes no objects. The caller keeps the descriptors open until
 * the call returns. The limited API makes one wheel fit every Python from 3.11 on.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Both sides compare this number: vortexd uses only a module with the number that it knows. */
#define INTERFACE 2
/* A batch. One call holds no lock, but the event loop waits for it. */
#define MOST 1024
/* The largest pong: two bytes, four of the mask, 125 of the payload. */
#define PONG_BYTES 131
/* What is read of a socket that has something else to say. */
#define RECEIVE_BYTES 16384

static int is_too_many(Py_ssize_t count) {
    if (count > MOST) {
        PyErr_Format(PyExc_ValueError, "at most %d descriptors", MOST);
    }
    return count > MOST;
}

/* As `descriptors_of`, for an object with a buffer. */
static Py_ssize_t descriptors_in(PyObject *array, int *found) {
    Py_buffer view;
    if (PyObject_GetBuffer(array, &view, PyBUF_ND | PyBUF_FORMAT)) {
        return -1;
    }
    Py_ssize_t count = -1;
    if (view.ndim != 1 || !view.format || strcmp(view.format, "i")) {
        PyErr_SetString(PyExc_TypeError, "a list, or an array of the type i");
    } else if (!is_too_many(view.shape[0])) {
        count = view.shape[0];
        memcpy(found, view.buf, (size_t)count * sizeof *found);
    }
    PyBuffer_Release(&view);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (found[i] < 0) {
            PyErr_SetString(PyExc_ValueError, "not a descriptor");
            return -1;
        }
    }
    return count;
}

/* Fills `found` from a list or an array. Returns the number of descriptors, or -1 with an exception. */
static Py_ssize_t descriptors_of(PyObject *list, int *found) {
    if (!PyList_Check(list)) {
        return descriptors_in(list, found);
    }
    Py_ssize_t count = PyList_Size(list);
    if (count < 0 || is_too_many(count)) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(list, i);
        long value = item ? PyLong_AsLong(item) : -1;
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (value < 0 || value > INT_MAX) {
            PyErr_SetString(PyExc_ValueError, "not a descriptor");
            return -1;
        }
        found[i] = (int)value;
    }
    return count;
}

/* Appends a pair (index, value) to a list, and drops the reference to the value. Returns 0, or -1 with an exception. */
static int append_pair(PyObject *list, Py_ssize_t index, PyObject *value) {
    PyObject *number = PyLong_FromSsize_t(index);
    PyObject *pair = number && value ? PyTuple_Pack(2, number, value) : NULL;
    int failed = !pair || PyList_Append(list, pair);
    Py_XDECREF(pair);
    Py_XDECREF(number);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

PyDoc_STRVAR(write_all_doc,
"write_all(descriptors, frame)\n--\n\n"
"Send a frame to each socket, and never wait. Returns pairs of index and result for the sockets that didn't take the\n"
"whole frame: the number of bytes, or an error number below zero.");

static PyObject *write_all(PyObject *module, PyObject *arguments) {
    PyObject *list;
    const char *frame;
    Py_ssize_t size;
    int descriptors[MOST];
    Py_ssize_t results[MOST];
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Oy#:write_all", &list, &frame, &size)) {
        return NULL;
    }
    Py_ssize_t count = descriptors_of(list, descriptors);
    if (count < 0) {
        return NULL;
    }
    /* The arguments hold the frame, and bytes never change. So it may be read without the lock. */
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count; i++) {
        do {
            results[i] = send(descriptors[i], frame, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        } while (results[i] < 0 && errno == EINTR);
        if (results[i] < 0) {
            results[i] = -errno;
        }
    }
    Py_END_ALLOW_THREADS
    PyObject *exceptions = PyList_New(0);
    for (Py_ssize_t i = 0; exceptions && i < count; i++) {
        if (results[i] != size && append_pair(exceptions, i, PyLong_FromSsize_t(results[i]))) {
            Py_CLEAR(exceptions);
        }
    }
    return exceptions;
}

static int is_pong(const unsigned char *data, Py_ssize_t size) {
    return size >= 6 && data[0] == 0x8a && data[1] >= 0x80 && data[1] <= 0x80 + 125 && size == 6 + data[1] - 0x80;
}

PyDoc_STRVAR(receive_pongs_doc,
"receive_pongs(descriptors, most)\n--\n\n"
"Receive from each socket, and never wait. Returns how many sockets were read from the first on, the bytes of all pongs,\n"
"and pairs of index and data for the read sockets that had anything but exactly one pong. The data is None if there was\n"
"nothing, and empty if the connection has ended. It reads no further socket after `most` such sockets.");

static PyObject *receive_pongs(PyObject *module, PyObject *arguments) {
    PyObject *list;
    Py_ssize_t most, taken = 0, bytes = 0, others = 0;
    int descriptors[MOST];
    static char data[RECEIVE_BYTES];
    (void)module;
    if (!PyArg_ParseTuple(arguments, "On:receive_pongs", &list, &most)) {
        return NULL;
    }
    Py_ssize_t count = descriptors_of(list, descriptors);
    PyObject *exceptions = count < 0 ? NULL : PyList_New(0);
    if (!exceptions) {
        return NULL;
    }
    /* One small read takes less time than to give the lock back and to get it again. */
    for (; taken < count && others < most; taken++) {
        ssize_t size;
        do {
            size = recv(descriptors[taken], data, RECEIVE_BYTES, MSG_DONTWAIT);
        } while (size < 0 && errno == EINTR);
        if (is_pong((unsigned char *)data, size)) {
            bytes += size;
            continue;
        }
        PyObject *received = Py_None;
        if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            Py_INCREF(received);
        } else {
            received = PyBytes_FromStringAndSize(data, size < 0 ? 0 : size);
            others++;
        }
        if (append_pair(exceptions, taken, received)) {
            Py_DECREF(exceptions);
            return NULL;
        }
    }
    return Py_BuildValue("nnN", taken, bytes, exceptions);
}

static PyMethodDef methods[] = {
    {"write_all", write_all, METH_VARARGS, write_all_doc},
    {"receive_pongs", receive_pongs, METH_VARARGS, receive_pongs_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "vortexd_native",
    .m_doc = "System calls on many sockets without the interpreter lock, for vortexd.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit_vortexd_native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddIntConstant(module, "INTERFACE", INTERFACE)) {
        Py_CLEAR(module);
    }
    return module;
}
