// A host that never waits: event_loop_cpp
//
// One thread runs a loop around poll(). It gets the manifests of ten plugins from a server, all at
// once: for each it begins a load, asks the server, and ends the load when the manifest has
// arrived. Who gets a plugin meanwhile waits for the same load, but no thread waits: the cache
// calls back.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <iterator>
#include <manifest_cache.hpp>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

using manifest_cache::Begun;
using manifest_cache::BegunLoad;
using manifest_cache::Cache;
using manifest_cache::Manifest;

static constexpr int plugin_count = 10;

static int check(int result, const char *what) {
    if (result < 0)
        throw std::system_error(errno, std::generic_category(), what);
    return result;
}

class Socket {
public:
    explicit Socket(int fd) : fd_(check(fd, "socket")) {}
    Socket(Socket &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Socket &operator=(Socket &&other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Socket() {
        if (fd_ >= 0)
            close(fd_);
    }
    int fd() const { return fd_; }

private:
    int fd_;
};

// Stands for a machine elsewhere. It keeps all clients waiting until the last one has asked, and
// answers that one first.
class Server {
public:
    Server() {
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address_;
        check(bind(listener_.fd(), reinterpret_cast<sockaddr *>(&address_), size), "bind");
        check(getsockname(listener_.fd(), reinterpret_cast<sockaddr *>(&address_), &size), "bind");
        check(listen(listener_.fd(), plugin_count), "listen");
        thread_ = std::thread([this] { serve(); });
    }
    ~Server() {
        shutdown(listener_.fd(), SHUT_RDWR); // ends accept()
        thread_.join();
    }
    const sockaddr_in &address() const { return address_; }

private:
    void serve() {
        std::vector<std::pair<Socket, std::string>> clients;
        while (clients.size() < plugin_count) {
            const int fd = accept(listener_.fd(), nullptr, nullptr);
            if (fd < 0)
                return;
            char id[64];
            Socket client(fd);
            const ssize_t length = recv(fd, id, sizeof id, MSG_WAITALL);
            clients.emplace_back(std::move(client), std::string(id, length < 0 ? 0 : length));
        }
        for (; !clients.empty(); clients.pop_back()) {
            const std::string json = R"({"id": ")" + clients.back().second + R"("})";
            send(clients.back().first.fd(), json.data(), json.size(), MSG_NOSIGNAL);
        }
    }

    sockaddr_in address_{};
    Socket listener_{socket(AF_INET, SOCK_STREAM, 0)};
    std::thread thread_;
};

class Host {
public:
    explicit Host(const sockaddr_in &server) : server_(server) {}

    // Gets a manifest, which is here at once or arrives while run() runs.
    void get(const std::string &id) {
        mc_error error;
        const auto done = [this, id](Manifest manifest, const mc_error &told) {
            waits_--;
            show(id, "shared, revision ", manifest, told);
        };
        Begun begun = cache_.begin_async(id, done, {}, error);
        switch (begun.status) {
        case MC_BEGUN:
            std::cout << id << ": is asked for\n";
            downloads_.push_back(ask(id, std::move(begun.load)));
            break;
        case MC_PENDING:
            std::cout << id << ": waits for the load in progress\n";
            waits_++;
            break;
        default:
            show(id, "in memory, revision ", begun.manifest, error);
        }
    }

    // Runs until nothing is in progress. Only poll() waits.
    void run() {
        while (!downloads_.empty() || waits_ > 0) {
            std::vector<pollfd> polled;
            for (const Download &download : downloads_)
                polled.push_back({download.socket.fd(), download.events, 0});
            if (check(poll(polled.data(), polled.size(), 1000), "poll") == 0)
                cache_.purge(); // ends waits that have lasted longer than MC_OPT_WAIT_MS
            for (std::size_t n = 0; n < polled.size(); n++)
                if (polled[n].revents != 0)
                    go_on(downloads_[n]);
            // Out of the list first, because what end() calls may get other plugins.
            const auto is_open = [](const Download &download) { return download.events != 0; };
            const auto first = std::stable_partition(downloads_.begin(), downloads_.end(), is_open);
            std::vector<Download> complete(std::make_move_iterator(first),
                                           std::make_move_iterator(downloads_.end()));
            downloads_.erase(first, downloads_.end());
            for (Download &download : complete)
                end(download);
        }
    }

    std::string statistics() const { return cache_.stats(); }

private:
    // A load, and the connection that brings its manifest. If it is dropped, the load fails.
    struct Download {
        std::string id;
        BegunLoad load;
        Socket socket;
        short events = POLLOUT; // what poll() is to report; 0 if all has arrived
        std::string received{};
    };

    Download ask(const std::string &id, BegunLoad load) {
        Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        const auto *address = reinterpret_cast<const sockaddr *>(&server_);
        if (connect(socket.fd(), address, sizeof server_) < 0 && errno != EINPROGRESS)
            check(-1, "connect");
        return {id, std::move(load), std::move(socket)};
    }

    // Sends the question when the connection is there, and receives what has arrived.
    void go_on(Download &download) {
        const int fd = download.socket.fd();
        if (download.events == POLLOUT) {
            const std::string &id = download.id;
            if (send(fd, id.data(), id.size(), MSG_NOSIGNAL) < 0 || shutdown(fd, SHUT_WR) < 0)
                return fail(download);
            download.events = POLLIN;
            return;
        }
        char part[1024];
        const ssize_t length = recv(fd, part, sizeof part, 0);
        if (length > 0)
            download.received.append(part, static_cast<std::size_t>(length));
        else if (length == 0)
            download.events = 0;
        else if (errno != EAGAIN)
            fail(download);
    }

    static void fail(Download &download) {
        download.load.fail(errno, std::strerror(errno));
        download.received.clear();
        download.events = 0;
    }

    void end(Download &download) {
        mc_error error;
        if (!download.received.empty())
            download.load.json(download.received);
        const Manifest manifest = download.load.end(error);
        show(download.id, "loaded, revision ", manifest, error);
    }

    static void show(const std::string &id, const char *how, const Manifest &manifest,
                     const mc_error &error) {
        if (manifest)
            std::cout << id << ": " << how << manifest.revision() << ": " << manifest.view()
                      << '\n';
        else
            std::cout << id << ": " << error.message << '\n';
    }

    sockaddr_in server_;
    Cache cache_{manifest_cache::ttl_forever};
    std::vector<Download> downloads_{};
    int waits_ = 0;
};

static void run() {
    const Server server;
    Host host(server.address());
    for (int n = 0; n < plugin_count; n++)
        host.get("plugin-" + std::to_string(n));
    host.get("plugin-3");
    std::cout << '\n';
    host.run();
    std::cout << '\n';
    host.get("plugin-3");
    std::cout << "\nstatistics: " << host.statistics() << '\n';
}

int main() {
    try {
        run();
    } catch (const std::exception &error) {
        std::cerr << "event_loop_cpp: " << error.what() << '\n';
        return 1;
    }
}
