/*
 * Uses services for which libimobiledevice has functions but no program. It is loaded at
 * run time, so that no headers are needed: libimobiledevice6 has the library only.
 *
 *     services heartbeat       answers two messages of the heartbeat service
 *     services insecure NAME   observes and posts a notification without a session
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: error %d\n", what, code);
    exit(1);
}

static void *library;

/* function returns a function of libimobiledevice, or of libplist, which it loads. */
static void *function(const char *name) {
    void *f = dlsym(library, name);
    if (!f)
        fail(name, 0);
    return f;
}

typedef int (*start_client)(void *device, void **client, const char *label);
typedef int (*start_service)(void *lockdown, const char *name, void **service);
typedef int (*new_client)(void *device, void *service, void **client);
typedef int (*with_dict)(void *client, void *dict);
typedef int (*receive)(void *client, void **dict, uint32_t milliseconds);
typedef int (*with_name)(void *client, const char *name);
typedef void (*notify)(const char *name, void *data);
typedef int (*set_notify)(void *client, notify f, void *data);

static void heartbeat(void *device) {
    void *client = NULL;
    int code = ((start_client)function("heartbeat_client_start_service"))(device, &client, "test");
    if (code)
        fail("heartbeat_client_start_service", code);
    for (int i = 0; i < 2; i++) {
        void *message = NULL;
        code = ((receive)function("heartbeat_receive_with_timeout"))(client, &message, 60000);
        if (code)
            fail("heartbeat_receive_with_timeout", code);
        char *command = NULL;
        uint64_t interval = 0;
        void *(*item)(void *, const char *) =
            (void *(*)(void *, const char *))function("plist_dict_get_item");
        void (*text)(void *, char **) =
            (void (*)(void *, char **))function("plist_get_string_val");
        void (*number)(void *, uint64_t *) =
            (void (*)(void *, uint64_t *))function("plist_get_uint_val");
        text(item(message, "Command"), &command);
        number(item(message, "Interval"), &interval);
        printf("%s %llu\n", command, (unsigned long long)interval);
        void *polo = ((void *(*)(void))function("plist_new_dict"))();
        void *value = ((void *(*)(const char *))function("plist_new_string"))("Polo");
        ((void (*)(void *, const char *, void *))function("plist_dict_set_item"))(polo, "Command",
                                                                                  value);
        code = ((with_dict)function("heartbeat_send"))(client, polo);
        if (code)
            fail("heartbeat_send", code);
    }
}

static int told[2]; /* pipe on which the thread of the library tells the main thread */

static void heard(const char *name, void *data) {
    (void)data;
    if (!*name)
        return; /* the connection has ended */
    printf("%s\n", name);
    fflush(stdout);
    if (write(told[1], "x", 1) != 1)
        _exit(1);
}

static void insecure(void *device, const char *name) {
    void *lockdown = NULL, *service = NULL, *client = NULL;
    int code = ((start_client)function("lockdownd_client_new"))(device, &lockdown, "test");
    if (code)
        fail("lockdownd_client_new", code);
    code = ((start_service)function("lockdownd_start_service"))(
        lockdown, "com.apple.mobile.insecure_notification_proxy", &service);
    if (code)
        fail("lockdownd_start_service", code);
    code = ((new_client)function("np_client_new"))(device, service, &client);
    if (code)
        fail("np_client_new", code);
    if (pipe(told))
        fail("pipe", 0);
    code = ((set_notify)function("np_set_notify_callback"))(client, heard, NULL);
    if (code)
        fail("np_set_notify_callback", code);
    code = ((with_name)function("np_observe_notification"))(client, name);
    if (code)
        fail("np_observe_notification", code);
    code = ((with_name)function("np_post_notification"))(client, name);
    if (code)
        fail("np_post_notification", code);
    char c;
    if (read(told[0], &c, 1) != 1)
        fail("read", 0);
    fflush(stdout);
    _exit(0); /* the library takes a second to stop its thread */
}

int main(int argc, char **argv) {
    library = dlopen("libimobiledevice-1.0.so.6", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        library = dlopen("libimobiledevice.so.6", RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void *device = NULL;
    int code = ((int (*)(void **, const char *))function("idevice_new"))(&device, NULL);
    if (code)
        fail("idevice_new", code);
    if (argc == 2 && !strcmp(argv[1], "heartbeat"))
        heartbeat(device);
    else if (argc == 3 && !strcmp(argv[1], "insecure"))
        insecure(device, argv[2]);
    else
        return 2;
    return 0;
}
