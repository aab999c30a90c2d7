// Runs kernels on request: reads launches from stdin and writes results to stdout until stdin ends.
//
// Request: one line `kernel gx gy gz bx by bz shared order count`, then for each argument one line, `p bytes` followed
// by the bytes, `n` (a null pointer), `i value` or `f bits`. Reply: `ok`, then the bytes of every pointer argument in
// order; or `error sentence`. Buffers have exactly the size that was asked for, so AddressSanitizer sees a byte too far.
#pragma once

#include <iostream>
#include <map>
#include <sstream>
#include <tuple>
#include <utility>

struct Argument {
    char kind = 'n';
    shim::Bytes data;
    std::size_t bytes = 0;
    int number = 0;
};

template <class A>
A as(Argument& argument) {
    if constexpr (std::is_pointer_v<A>) {
        if (argument.kind != 'p' && argument.kind != 'n') throw std::runtime_error("a pointer was expected");
        return reinterpret_cast<A>(argument.data.get());
    } else if constexpr (std::is_same_v<A, float>) {
        return bits_to_float(argument.number);
    } else {
        if (argument.kind != 'i') throw std::runtime_error("an integer was expected");
        return static_cast<A>(argument.number);
    }
}

using Kernel = std::function<std::function<void()>(std::vector<Argument>&)>;

template <class... A, std::size_t... I>
std::function<void()> bind_all(void (*kernel)(A...), std::vector<Argument>& arguments, std::index_sequence<I...>) {
    if (arguments.size() != sizeof...(A))
        throw std::runtime_error("the kernel takes " + std::to_string(sizeof...(A)) + " arguments");
    auto values = std::make_tuple(as<A>(arguments[I])...);
    return [kernel, values] { std::apply(kernel, values); };
}

template <class... A>
Kernel entry(void (*kernel)(A...)) {
    return [kernel](std::vector<Argument>& arguments) {
        return bind_all(kernel, arguments, std::index_sequence_for<A...>());
    };
}

inline int serve(const std::map<std::string, Kernel>& kernels) {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream head(line);
        std::string name;
        uint3 grid, threads;
        std::size_t shared, count;
        unsigned order;
        head >> name >> grid.x >> grid.y >> grid.z >> threads.x >> threads.y >> threads.z >> shared >> order >> count;
        std::vector<Argument> arguments(count);
        for (Argument& argument : arguments) {
            std::getline(std::cin, line);
            std::istringstream text(line);
            text >> argument.kind;
            if (argument.kind == 'p') {
                text >> argument.bytes;
                argument.data = shim::exact_bytes(argument.bytes);
                std::cin.read(reinterpret_cast<char*>(argument.data.get()), argument.bytes);
            } else {
                text >> argument.number;
            }
        }
        try {
            const auto found = kernels.find(name);
            if (found == kernels.end()) throw std::runtime_error("no kernel " + name);
            shim::run_grid(grid, threads, shared, order, found->second(arguments));
            std::cout << "ok\n";
            for (Argument& argument : arguments)
                std::cout.write(reinterpret_cast<char*>(argument.data.get()), argument.bytes);
        } catch (const std::runtime_error& error) {
            std::cout << "error " << error.what() << "\n";
        }
        std::cout.flush();
    }
    return 0;
}
